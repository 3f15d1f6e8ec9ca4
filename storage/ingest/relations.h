// The sizes of relation forks at the tip of a timeline, which ingest changes and reads consult.
//
// A cache over the relation-size keys: every change is written to the open layer at the same time,
// so that an entry can be forgotten at any moment. Negative answers are kept too.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "base/bytes.h"
#include "base/lsn.h"
#include "base/status.h"
#include "storage/key.h"
#include "storage/value.h"

namespace varve::storage {

// The metadata at the tip, which ingest reads. Calls may suspend.
class MetadataSource {
 public:
  struct Item {
    Key key;
    Lsn lsn;        // since when
    Bytes payload;  // of the image
  };
  virtual ~MetadataSource() = default;
  // The value of a sparse key at the tip; nothing when it is absent or a tombstone.
  virtual Result<std::optional<Item>> current(const Key& key) = 0;
  // All of a range, in order of keys.
  virtual Result<std::vector<Item>> current_range(const KeyRange& keys) = 0;
};

class RelationSizes {
 public:
  // `source` must outlive this. At most about `limit` entries are held.
  RelationSizes(MetadataSource& source, size_t limit) : source_(source), limit_(limit) {}

  struct Entry {
    Lsn since;  // this is so from here to the tip; Lsn::max() when it is not known since when
    std::optional<RelationSize> size;
  };
  // The size at the tip. May suspend.
  Result<Entry> get(const Key& size_key);
  // Only what is at hand; null otherwise. Good until the next call.
  const Entry* find(const Key& size_key) const;
  void set(const Key& size_key, Lsn since, std::optional<RelationSize> size);
  MetadataSource& source() { return source_; }

 private:
  MetadataSource& source_;
  size_t limit_;
  std::map<Key, Entry> entries_;
};

}  // namespace varve::storage
