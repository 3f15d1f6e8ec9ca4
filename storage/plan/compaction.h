// What to compact next, as a function of the layers alone.
//
// Two kinds of work keep reads bounded. Level 0 layers span all keys, so that a read visits each;
// when there are `level0_threshold` of them they are merged into level 1 layers, which are cut by
// key. Then, where `image_threshold` delta runs lie above the image of some range of keys, a new
// image is made of that range alone: what is not written is not rewritten, whatever the size of the
// database. A branch starts with its ancestor's columns, so that a few hot pages of a large
// database don't make it copy the rest.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "storage/layer_map.h"

namespace varve::storage {

struct CompactionOptions {
  uint32_t level0_threshold = 4;
  uint32_t image_threshold = 3;
  uint64_t target_layer_bytes = 64 << 20;

  template <class V>
  static void describe(V&& v) {
    v(&CompactionOptions::level0_threshold,
      {"level0_threshold", "count", 1, 64,
       "flushed layers that are merged into level 1 at a time"});
    v(&CompactionOptions::image_threshold,
      {"image_threshold", "count", 1, 64, "delta runs above an image before a new one is made"});
    v(&CompactionOptions::target_layer_bytes,
      {"target_layer_bytes", "bytes", 4096, int64_t{1} << 30,
       "size at which compaction begins a new file; what a cold read may have to fetch"});
  }
};

struct Level0Job {
  std::vector<LayerRef> inputs;  // adjacent in LSN, oldest first
  LsnRange lsn;                  // of all of them
};
std::optional<Level0Job> plan_level0(const LayerMap& map, const CompactionOptions& options);

struct ImageJob {
  KeyRange keys;
  Lsn lsn;  // where the image is taken: all of it is in layers of level 1 or below
};
// `base` tiles all keys: what the timeline began with (its ancestor's columns; one without image
// for a root). The first range that needs an image, in key order.
std::optional<ImageJob> plan_image(const LayerMap& map, std::vector<LayerMap::Column> base,
                                   const CompactionOptions& options);

}  // namespace varve::storage
