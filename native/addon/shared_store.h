// A std::shared_ptr<v8::BackingStore> with the layout that V8 itself uses.
//
// Node is compiled with libstdc++, and V8 counts such references inline. This addon may be compiled
// with another C++ library, as release binaries are (docs/decisions/0025), whose std::shared_ptr
// counts differently. This class therefore reproduces the pointer of libstdc++ by hand: two
// pointers, the second of which refers to the counts. The layout of the counts and the order of
// their virtual functions have been part of libstdc++'s binary interface since gcc 5. Like the
// original, it is passed by reference to a temporary.
#pragma once

#include <atomic>
#include <typeinfo>
#include <utility>

namespace stillframe {

class SharedStore {
 public:
  using Drop = void (*)(void* store);

  // `drop` destroys the store when the last reference to it goes, on any thread.
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
      // All uses together hold one weak reference.
      if (weak_.fetch_sub(1, std::memory_order_acq_rel) == 1) Destroy();
    }

    // V8 calls these too, so their order must not change.
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
