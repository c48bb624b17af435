#include "image/block_layout.h"

#include "image/flat_layout.h"
#include "image/packed_layout.h"

namespace stillframe {

const BlockLayout* BlockLayout::Of(Layout layout) {
  static constexpr FlatLayout kFlatLayout;
  static constexpr PackedLayout kPackedLayout;
  switch (layout) {
    case Layout::kFlat:
      return &kFlatLayout;
    case Layout::kPacked:
      return &kPackedLayout;
  }
  return nullptr;
}

}  // namespace stillframe
