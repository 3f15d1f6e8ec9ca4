#include "storage/ingest/relations.h"

namespace varve::storage {

const RelationSizes::Entry* RelationSizes::find(const Key& size_key) const {
  const auto found = entries_.find(size_key);
  return found == entries_.end() ? nullptr : &found->second;
}

Result<RelationSizes::Entry> RelationSizes::get(const Key& size_key) {
  if (const Entry* entry = find(size_key)) return *entry;
  VARVE_TRY_ASSIGN(const std::optional<MetadataSource::Item> item, source_.current(size_key));
  Entry entry;
  if (item) {
    VARVE_TRY_ASSIGN(entry.size, RelationSize::decode(item->payload));
    entry.since = item->lsn;
  }
  // An absent fork may have been dropped at any time: `since` is then not known.
  else {
    entry.since = Lsn::max();
  }
  if (entries_.size() >= limit_) entries_.clear();
  return entries_.emplace(size_key, std::move(entry)).first->second;
}

void RelationSizes::set(const Key& size_key, Lsn since, std::optional<RelationSize> size) {
  if (entries_.size() >= limit_ && !entries_.contains(size_key)) entries_.clear();
  entries_[size_key] = {since, std::move(size)};
}

}  // namespace varve::storage
