#include "tools/oracle/side_effects.h"

#include "base/codec.h"
#include "wal/redo/redo.h"
#include "wal/visibility.h"

namespace varve::oracle {
namespace {

using wal::BlockId;
using wal::Fork;
using wal::Record;
using wal::RelationId;
using wal::redo::VisibilityChange;

Status change_map(const Record& record, const RelationId& relation, uint32_t map_block,
                  const VisibilityChange& change, PageMap& pages) {
  const BlockId id{relation, Fork::kVisibility, map_block};
  KnownPage* page = pages.find(id);
  if (page == nullptr) return Status();
  return wal::redo::apply(id, page->bytes, record.end, wal::redo::encode(change));
}

Status clear(const Record& record, uint8_t block_id, uint8_t bits, PageMap& pages) {
  const wal::BlockReference* heap = record.block(block_id);
  if (heap == nullptr) return Status();
  VisibilityChange change;
  change.clears[0] = {heap->block.block, bits};
  change.clear_count = 1;
  return change_map(record, heap->block.relation,
                    wal::visibility_position(heap->block.block).map_block, change, pages);
}

Status heap_effects(const Record& record, PageMap& pages) {
  const std::span<const uint8_t> md = record.main_data;
  const uint8_t operation = record.operation() & 0x70;
  const auto flag = [&](size_t at, uint8_t bit) { return at < md.size() && (md[at] & bit) != 0; };
  if (record.is(wal::Rmgr::kHeap2)) {
    if (operation == 0x50 && flag(0, 1)) return clear(record, 0, wal::kVisibilityBits, pages);
    if (operation == 0x60 && flag(7, 1)) return clear(record, 0, wal::kAllFrozen, pages);
    return Status();
  }
  switch (operation) {
    case 0x00:
      return flag(2, 1) ? clear(record, 0, wal::kVisibilityBits, pages) : Status();
    case 0x10:
      return flag(7, 1) ? clear(record, 0, wal::kVisibilityBits, pages) : Status();
    case 0x60:
      return flag(7, 1) ? clear(record, 0, wal::kAllFrozen, pages) : Status();
    case 0x20:
    case 0x40: {
      const uint8_t old_block = record.block(1) != nullptr ? 1 : 0;
      if (flag(7, 1)) VARVE_TRY(clear(record, old_block, wal::kVisibilityBits, pages));
      if (flag(7, 2)) VARVE_TRY(clear(record, 0, wal::kVisibilityBits, pages));
      return Status();
    }
    default:
      return Status();
  }
}

RelationId read_relation(Reader& in) {
  RelationId relation;
  relation.tablespace = in.le<uint32_t>();
  relation.database = in.le<uint32_t>();
  relation.relation = in.le<uint32_t>();
  return relation;
}

Status truncate(const Record& record, PageMap& pages) {
  Reader in(record.main_data);
  const auto blocks = in.le<uint32_t>();
  const RelationId relation = read_relation(in);
  const auto forks = in.le<uint32_t>();
  if (!in.ok()) return Status(Code::kCorrupt, "a truncation that is cut off");
  if ((forks & 1) != 0) pages.truncate(relation, Fork::kMain, blocks);
  if ((forks & 2) != 0) {
    pages.truncate(relation, Fork::kVisibility, wal::visibility_pages(blocks));
    if (blocks % wal::kHeapBlocksPerVisibilityPage != 0) {
      VisibilityChange change;
      change.truncate_to = blocks;
      VARVE_TRY(
          change_map(record, relation, wal::visibility_position(blocks).map_block, change, pages));
    }
  }
  if ((forks & 4) != 0) pages.truncate(relation, Fork::kFreeSpace, 0);
  return Status();
}

Status storage_effects(const Record& record, PageMap& pages) {
  if (record.operation() == 0x20) return truncate(record, pages);
  if (record.operation() != 0x10) return Status();
  Reader in(record.main_data);
  const RelationId relation = read_relation(in);
  const auto fork = in.le<uint32_t>();
  if (!in.ok() || fork > 3) return Status(Code::kCorrupt, "a file creation that is cut off");
  pages.create(relation, static_cast<Fork>(fork));
  return Status();
}

Status database_effects(const Record& record, PageMap& pages) {
  Reader in(record.main_data);
  const auto database = in.le<uint32_t>();
  if (record.operation() == 0x00) {
    const auto tablespace = in.le<uint32_t>();
    const auto source = in.le<uint32_t>();
    const auto source_tablespace = in.le<uint32_t>();
    if (!in.ok()) return Status(Code::kCorrupt, "a database creation that is cut off");
    pages.copy_database(source, source_tablespace, database, tablespace);
  } else if (record.operation() == 0x20) {
    pages.drop_database(database);
  }
  return Status();
}

}  // namespace

Status apply_side_effects(const Record& record, PageMap& pages) {
  switch (static_cast<wal::Rmgr>(record.rmid)) {
    case wal::Rmgr::kHeap:
    case wal::Rmgr::kHeap2:
      return heap_effects(record, pages);
    case wal::Rmgr::kStorage:
      return storage_effects(record, pages);
    case wal::Rmgr::kDatabase:
      return database_effects(record, pages);
    default:
      return Status();
  }
}

}  // namespace varve::oracle
