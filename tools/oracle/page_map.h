// Pages by name, in memory: what the oracle knows of the cluster while it reads the log.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <utility>
#include <vector>

#include "base/lsn.h"
#include "wal/record.h"

namespace varve::oracle {

struct KnownPage {
  std::array<uint8_t, kBlockSize> bytes{};
  std::optional<uint8_t> rmid;  // whose record changed it last, if not an image on its own
};

class PageMap {
 public:
  using ForkId = std::pair<wal::RelationId, wal::Fork>;
  using Pages = std::vector<std::unique_ptr<KnownPage>>;

  // Null when the page is not known.
  KnownPage* find(const wal::BlockId& id);
  // Made of zeros if it was not known.
  KnownPage& make(const wal::BlockId& id);

  // The page was changed in a way that we can't follow.
  void forget(const wal::BlockId& id);

  // The relation's fork is new: whatever was known under its number is gone.
  void create(const wal::RelationId& relation, wal::Fork fork);
  // Created while we read: a page that nobody wrote yet holds nothing.
  bool created(const wal::RelationId& relation) const { return created_.contains(relation); }
  // Pages from `blocks` on are gone.
  void truncate(const wal::RelationId& relation, wal::Fork fork, uint32_t blocks);
  void drop_database(uint32_t database);
  // All pages of a database, as they are now, under another name as well.
  void copy_database(uint32_t source, uint32_t source_tablespace, uint32_t target,
                     uint32_t target_tablespace);

  const std::map<ForkId, Pages>& all() const { return forks_; }

 private:
  std::map<ForkId, Pages> forks_;
  std::set<wal::RelationId> created_;
  // The last fork looked up; records come in runs on one relation.
  ForkId last_id_;
  Pages* last_ = nullptr;
};

}  // namespace varve::oracle
