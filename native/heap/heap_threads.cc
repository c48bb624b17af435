#include "heap/heap_threads.h"

#include <map>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

namespace stillframe {
namespace {

using Work = std::function<void(v8::Isolate*)>;

struct HeapThread {
  v8::Isolate* isolate = nullptr;
  Environment* environment = nullptr;
  std::vector<std::shared_ptr<Work>> waiting;  // empty once the work has been taken
};

// Never destroyed: a Worker may end while the process exits.
struct Registry {
  std::mutex mutex;
  std::map<uint64_t, HeapThread> threads;
};
Registry& Threads() {
  static auto* registry = new Registry;
  return *registry;
}

// Both the interrupt and the posted task call this; the first of them runs the work.
void RunOnce(uint64_t number, const std::shared_ptr<Work>& work) {
  Work taken;
  v8::Isolate* isolate = nullptr;
  {
    const std::lock_guard lock(Threads().mutex);
    const auto found = Threads().threads.find(number);
    if (found == Threads().threads.end()) return;
    isolate = found->second.isolate;
    taken = std::exchange(*work, nullptr);
    std::erase(found->second.waiting, work);
  }
  if (taken) taken(isolate);
}

struct Interrupt {
  uint64_t number;
  std::shared_ptr<Work> work;
};

void OnInterrupt(v8::Isolate* /*isolate*/, void* data) {
  const std::unique_ptr<Interrupt> interrupt(static_cast<Interrupt*>(data));
  RunOnce(interrupt->number, interrupt->work);
}

void Forget(uint64_t number) {
  std::vector<std::shared_ptr<Work>> waiting;
  {
    const std::lock_guard lock(Threads().mutex);
    const auto found = Threads().threads.find(number);
    if (found == Threads().threads.end()) return;
    waiting = std::move(found->second.waiting);
    Threads().threads.erase(found);
  }
  for (const std::shared_ptr<Work>& work : waiting) {
    if (const Work taken = std::exchange(*work, nullptr)) taken(nullptr);
  }
}

}  // namespace

void HeapThreads::Add(Napi::Env env, uint64_t number) {
  {
    const std::lock_guard lock(Threads().mutex);
    Threads().threads[number] = {v8::Isolate::GetCurrent(), Environment::Of(env), {}};
  }
  // This hook runs before the hook of the Environment, which was added first: so nothing is posted
  // to an environment that has ended.
  env.AddCleanupHook([number] { Forget(number); });
}

bool HeapThreads::RunOn(uint64_t number, std::function<void(v8::Isolate*)> work) {
  const std::lock_guard lock(Threads().mutex);
  const auto found = Threads().threads.find(number);
  if (found == Threads().threads.end()) return false;
  HeapThread& thread = found->second;
  thread.waiting.push_back(std::make_shared<Work>(std::move(work)));
  const std::shared_ptr<Work>& kept = thread.waiting.back();
  // If the isolate ends first, V8 deletes the request but not the Interrupt, which leaks a few
  // bytes.
  thread.isolate->RequestInterrupt(OnInterrupt, new Interrupt{number, kept});
  thread.environment->Post([number, kept](Napi::Env) { RunOnce(number, kept); });
  return true;
}

}  // namespace stillframe
