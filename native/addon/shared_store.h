// A std::shared_ptr<v8::BackingStore> as V8 itself has it.
//
// Node is compiled with libstdc++, and V8 counts such references inline. This addon may be compiled with another C++
// library, as the binaries of a release are (docs/decisions/0025), whose std::shared_ptr counts in another way. So this
// is libstdc++'s by hand: two pointers, of which the second is to the counts, whose layout and order of virtual functions
// have been part of libstdc++'s binary interface since gcc 5. Like it, it is passed by reference to a temporary.
#pragma once

#include <atomic>
#include <typeinfo>
#include <utility>

namespace stillframe {

class SharedStore {
 public:
  using Drop = void (*)(void* store);

  // `drop` destroys the store with the last reference to it, on any thread.
  SharedStore(void* store, Drop drop) : store_(store), counts_(new Counts(store, drop)) {}
  SharedStore(SharedStore&& other) noexcept
      : store_(std::exchange(other.store_, nullptr)),
        counts_(std::exchange(other.counts_, nullptr)) {}
  SharedStore& operator=(SharedStore&&) = delete;
  ~SharedStore() {
    if (counts_ != nullptr) counts_->Release();
  }

 private:
  // std::_Sp_counted_base.
  class Counts {
   public:
    Counts(void* store, Drop drop) : store_(store), drop_(drop) {}
    Counts(const Counts&) = delete;
    Counts& operator=(const Counts&) = delete;

    void Release() {
      if (uses_.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
      Dispose();
      // All uses together count as one of these.
      if (weak_.fetch_sub(1, std::memory_order_acq_rel) == 1) Destroy();
    }

    // These are called by V8 too. The order counts.
    virtual ~Counts() = default;
    virtual void Dispose() noexcept { drop_(store_); }
    virtual void Destroy() noexcept { delete this; }
    virtual void* GetDeleter(const std::type_info& /*type*/) noexcept { return nullptr; }

   private:
    std::atomic<int> uses_{1};
    std::atomic<int> weak_{1};
    void* store_;
    Drop drop_;
  };

  void* store_;
  Counts* counts_;
};

static_assert(sizeof(SharedStore) == 2 * sizeof(void*));

}  // namespace stillframe
