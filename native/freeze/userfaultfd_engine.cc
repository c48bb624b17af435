#include "freeze/userfaultfd_engine.h"

#include "memory/page.h"

namespace stillframe {

Status UserfaultfdEngine::PrepareProtection(const FreezePlan& plan) {
  if (Status open = userfaultfd_.Open(variant_); !open.ok()) return open;
  for (const FreezeSource& source : plan.sources) {
    if (source.byte_length == 0) continue;
    Status registered = userfaultfd_.Register(source.data, source.byte_length);
    if (!registered.ok()) return registered;
  }
  return Success{};
}

Status UserfaultfdEngine::AnswerFaults() {
  if (variant_ == FaultVariant::kSignal) return Success{};
  return userfaultfd_.Answer(
      {.fault = [this](const void* address) { frozen()->ResolveWrite(address); },
       .unreadable = [this](int error_number) { frozen()->GiveUp(error_number); }});
}

size_t UserfaultfdEngine::PieceBytes(uint64_t /*isolated_pieces*/) { return SystemPageSize(); }

}  // namespace stillframe
