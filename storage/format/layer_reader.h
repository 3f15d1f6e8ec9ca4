// Reads a layer file through a function that reads ranges of it.
//
// Header, footer and index are read and checked when it is opened; the index stays in memory (about
// 40 bytes for each 16 KiB). Every byte of the file is under a checksum: what does not match is
// kCorrupt and names the layer and the key at hand. Functions suspend exactly when the read
// function does; a reader may be used by several fibers at a time.
#pragma once

#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/bytes.h"
#include "base/ids.h"
#include "base/status.h"
#include "storage/format/block.h"
#include "storage/format/layer.h"

namespace varve::storage {

// Exactly the bytes of [offset, offset + length) or an error. May suspend.
using ReadRange = std::function<Result<Bytes>(uint64_t offset, uint64_t length)>;

// Decompressed blocks of all layers, least recently used go first. Holds at most `limit` bytes.
class BlockCache {
 public:
  explicit BlockCache(uint64_t limit) : limit_(limit) {}
  std::optional<Bytes> find(uint64_t layer, uint32_t block);
  void insert(uint64_t layer, uint32_t block, Bytes bytes);
  // Numbers for readers, never used twice.
  uint64_t next_layer() { return ++layers_; }
  uint64_t used() const { return used_; }
  uint64_t hits() const { return hits_; }
  uint64_t misses() const { return misses_; }

 private:
  using Name = std::pair<uint64_t, uint32_t>;
  struct Entry {
    Name name;
    Bytes bytes;
  };
  uint64_t limit_;
  uint64_t used_ = 0;
  uint64_t layers_ = 0;
  uint64_t hits_ = 0;
  uint64_t misses_ = 0;
  std::list<Entry> order_;  // most recently used first
  struct Hash {
    size_t operator()(const Name& name) const {
      return (name.first * 0x9E3779B97F4A7C15 + name.second) * 0xBF58476D1CE4E5B9;
    }
  };
  std::unordered_map<Name, std::list<Entry>::iterator, Hash> entries_;  // asked, never walked
};

// One stored value. Its bytes share the block they came in.
struct StoredValue {
  Key key;
  Lsn lsn;
  Bytes bytes;  // as parse_value() takes them
};

class LayerReader {
 public:
  // Reads and checks header, footer and index, and that they say what `expected` does. `cache` (may
  // be null) must outlive this.
  static Result<std::unique_ptr<LayerReader>> open(const LayerDescriptor& expected,
                                                   const TenantId& tenant,
                                                   const TimelineId& timeline, ReadRange read,
                                                   BlockCache* cache);

  const LayerDescriptor& descriptor() const { return descriptor_; }

  // Appends the versions of `key` with lsn in `range`, newest first, up to and including the first
  // that starts a chain. True when there was one.
  Result<bool> find_chain(const Key& key, LsnRange range, std::vector<StoredValue>& chain) const;

  // Whether blocks that are read on the way go to the cache: not for who reads all of them once.
  enum class Cached : uint8_t { kYes, kNo };

  // The values from the first key of a range on, in order of (key, LSN).
  class Iterator {
   public:
    // Goes on to the next value; false at the end of the range.
    Result<bool> next();
    const StoredValue& value() const { return value_; }

   private:
    friend class LayerReader;
    Iterator(const LayerReader& reader, const KeyRange& keys, Cached cached);
    const LayerReader* reader_;
    KeyRange keys_;
    Cached cached_;
    size_t block_;
    std::vector<StoredValue> values_;
    size_t at_ = 0;
    StoredValue value_;
  };
  // The reader must outlive it.
  Iterator iterate(const KeyRange& keys, Cached cached = Cached::kYes) const {
    return Iterator(*this, keys, cached);
  }

 private:
  struct IndexEntry {
    Key key;
    Lsn lsn;
    uint64_t offset;
    uint32_t length;
  };

  LayerReader(LayerDescriptor descriptor, ReadRange read, BlockCache* cache);
  Status load(const TenantId& tenant, const TimelineId& timeline);
  Status load_index(uint64_t offset, uint32_t length, uint32_t blocks);
  Status corrupt(Status status) const;
  // Number of the first block that begins behind (key, lsn).
  size_t first_block_after(const Key& key, Lsn lsn) const;
  Result<Bytes> read_block(size_t number, Cached cached) const;
  // Appends the values of a block for which `wanted` is true, in order.
  template <class Wanted>
  Status read_values(size_t number, Cached cached, const Wanted& wanted,
                     std::vector<StoredValue>& values) const;

  LayerDescriptor descriptor_;
  ReadRange read_;
  BlockCache* cache_;
  uint64_t cache_number_ = 0;
  std::vector<IndexEntry> index_;
  mutable Codec codec_;
};

}  // namespace varve::storage
