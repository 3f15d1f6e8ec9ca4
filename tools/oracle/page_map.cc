#include "tools/oracle/page_map.h"

namespace varve::oracle {

KnownPage* PageMap::find(const wal::BlockId& id) {
  const ForkId fork{id.relation, id.fork};
  if (last_ == nullptr || fork != last_id_) {
    const auto found = forks_.find(fork);
    if (found == forks_.end()) return nullptr;
    last_id_ = fork;
    last_ = &found->second;
  }
  return id.block < last_->size() ? (*last_)[id.block].get() : nullptr;
}

KnownPage& PageMap::make(const wal::BlockId& id) {
  Pages& pages = forks_[{id.relation, id.fork}];
  if (id.block >= pages.size()) pages.resize(id.block + size_t{1});
  if (pages[id.block] == nullptr) pages[id.block] = std::make_unique<KnownPage>();
  return *pages[id.block];
}

void PageMap::forget(const wal::BlockId& id) {
  if (find(id) != nullptr) (*last_)[id.block].reset();
}

void PageMap::create(const wal::RelationId& relation, wal::Fork fork) {
  last_ = nullptr;
  forks_.erase({relation, fork});
  if (fork != wal::Fork::kMain) return;
  // The other forks of a new relation are not logged when they come; they start empty too.
  forks_.erase({relation, wal::Fork::kFreeSpace});
  forks_.erase({relation, wal::Fork::kVisibility});
  created_.insert(relation);
}

void PageMap::truncate(const wal::RelationId& relation, wal::Fork fork, uint32_t blocks) {
  const auto found = forks_.find({relation, fork});
  if (found != forks_.end() && found->second.size() > blocks) found->second.resize(blocks);
}

void PageMap::drop_database(uint32_t database) {
  last_ = nullptr;
  std::erase_if(forks_, [&](const auto& entry) { return entry.first.first.database == database; });
  std::erase_if(created_, [&](const wal::RelationId& r) { return r.database == database; });
}

void PageMap::copy_database(uint32_t source, uint32_t source_tablespace, uint32_t target,
                            uint32_t target_tablespace) {
  last_ = nullptr;
  std::map<ForkId, Pages> copies;
  for (const auto& [id, pages] : forks_) {
    if (id.first.database != source || id.first.tablespace != source_tablespace) continue;
    Pages& copy = copies[{{target_tablespace, target, id.first.relation}, id.second}];
    for (const auto& page : pages) {
      copy.push_back(page == nullptr ? nullptr : std::make_unique<KnownPage>(*page));
    }
  }
  forks_.merge(copies);
}

}  // namespace varve::oracle
