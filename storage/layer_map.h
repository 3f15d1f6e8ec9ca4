// Which layers a timeline has, and which of them a read must visit.
//
// Delta layers form runs: all layers of a run share one LSN range, their key ranges are disjoint,
// and the runs' LSN ranges are disjoint too (compaction replaces whole runs in one step). Image
// layers at one LSN are disjoint in keys. So each question is a walk over runs from new to old with
// one binary search in each, and how many runs a read can meet is what compaction bounds.
//
// Pure and cheap; answers are shared references, so that they stay good while layers come and go.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "storage/format/layer.h"

namespace varve::storage {

using LayerRef = std::shared_ptr<const LayerDescriptor>;

class LayerMap {
 public:
  // Invariants: it does not overlap a layer of its kind, except that images of different LSNs may.
  void insert(LayerRef layer);
  // Invariant: it is there.
  void remove(const LayerRef& layer);

  // Where the versions of `key` up to and including `upto` are: delta layers from new to old, all
  // above the image if there is one; the image holds everything older that matters.
  struct Visit {
    std::vector<LayerRef> deltas;
    LayerRef image;  // null: nothing is known of the key below the oldest delta
    // What of the delta layers counts: versions above the image and up to `upto`.
    LsnRange lsn;
  };
  // Only images below `image_before` are considered.
  Visit visit(const Key& key, Lsn upto, Lsn image_before = Lsn::max()) const;

  // The same for a range of keys that is scanned: all deltas and images that overlap it, up to
  // `upto`. Images are in order of LSN, oldest first.
  struct Scan {
    std::vector<LayerRef> deltas;
    std::vector<LayerRef> images;
    bool covered = false;  // images cover all of the range: no ancestor matters
  };
  Scan scan(const KeyRange& keys, Lsn upto) const;

  // A tiling of all keys by the newest images up to `upto`.
  struct Column {
    KeyRange keys;
    std::optional<Lsn> image;  // none: no image covers it
    bool operator==(const Column&) const = default;
  };
  std::vector<Column> columns(Lsn upto) const;

  // Flushed but not compacted, oldest first.
  std::vector<LayerRef> level0() const;
  // Delta layers of `keys` with versions above `above`.
  size_t count_deltas(const KeyRange& keys, std::optional<Lsn> above) const;
  // The end of the newest delta run, or of the newest image; nothing when empty.
  std::optional<Lsn> end() const;
  // Every layer, in an order that depends on them alone.
  std::vector<LayerRef> all() const;
  size_t size() const { return count_; }

 private:
  using ByKey = std::map<Key, LayerRef>;  // by start of the key range
  struct Run {
    LsnRange lsn;
    ByKey layers;
  };
  static const LayerRef* find(const ByKey& layers, const Key& key);
  template <class Visitor>
  static void for_overlapping(const ByKey& layers, const KeyRange& keys, const Visitor& visitor);

  std::map<Lsn, Run> deltas_;  // by start
  std::map<Lsn, ByKey> images_;
  size_t count_ = 0;
};

// Cuts `columns` where `over` covers them and puts it in their place.
void overlay(std::vector<LayerMap::Column>& columns, const LayerMap::Column& over);

}  // namespace varve::storage
