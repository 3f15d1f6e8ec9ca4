// The newest values, in memory: where ingest writes until the layer is frozen and flushed.
//
// Values are copied once into an append-only arena whose addresses never change, so that a frozen
// layer can be written out off the reactor while fibers go on reading it. Lost with the process:
// what is not flushed is still in the log.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <vector>

#include "base/lsn.h"
#include "storage/format/layer_reader.h"
#include "storage/key.h"

namespace varve::storage {

class OpenLayer {
 public:
  // Holds values above `start - 1`, which is where the layer before ends.
  explicit OpenLayer(Lsn start) : lsn_{start, start} {}
  OpenLayer(const OpenLayer&) = delete;
  OpenLayer& operator=(const OpenLayer&) = delete;

  // Invariants: not frozen; for each key LSNs ascend, and none is below start. A second value at
  // the same LSN replaces the first.
  void put(const Key& key, Lsn lsn, std::span<const uint8_t> value);
  // No more values; those present are below `end`.
  void freeze(Lsn end);
  bool frozen() const { return lsn_.start < lsn_.end; }

  Lsn start() const { return lsn_.start; }
  // Invariant: frozen.
  LsnRange lsn() const;
  // Memory held, about.
  uint64_t bytes() const { return bytes_; }
  bool empty() const { return values_.empty(); }
  size_t keys() const { return values_.size(); }

  // Appends the versions of `key` with lsn in `range`, newest first, up to the first that starts a
  // chain; true when there was one.
  bool find_chain(const Key& key, LsnRange range, std::vector<StoredValue>& chain) const;

  struct Version {
    Lsn lsn;
    std::span<const uint8_t> bytes;
  };
  using Versions = std::vector<Version>;  // ascending
  const std::map<Key, Versions>& values() const { return values_; }

 private:
  std::span<const uint8_t> keep(std::span<const uint8_t> value);

  Versions& versions_of(const Key& key);

  // The same few pages get most of the log: where a key's versions are, by its hash. A map's values
  // do not move.
  struct Recent {
    Key key;
    Versions* versions = nullptr;
  };
  static constexpr size_t kRecent = 1024;

  LsnRange lsn_;
  std::map<Key, Versions> values_;
  std::vector<Recent> recent_;  // empty once frozen
  std::vector<std::unique_ptr<uint8_t[]>> arena_;
  size_t arena_left_ = 0;
  uint8_t* arena_at_ = nullptr;
  uint64_t bytes_ = 0;
};

}  // namespace varve::storage
