#include "tools/oracle/record_types.h"

#include <fmt/format.h>

#include "wal/record.h"

namespace varve::oracle {
namespace {

struct Type {
  wal::Rmgr rmgr;
  uint8_t operation;
  const char* name;
  bool expected = true;
};

// Images for hint bits need wal_log_hints or checksums; generic records need an extension's index.
// Neither is in the corpus of ordinary settings.
constexpr Type kTypes[] = {
    {wal::Rmgr::kXlog, 0xA0, "FPI_FOR_HINT", false},
    {wal::Rmgr::kXlog, 0xB0, "FPI"},
    {wal::Rmgr::kHeap, 0x00, "INSERT"},
    {wal::Rmgr::kHeap, 0x80, "INSERT+INIT"},
    {wal::Rmgr::kHeap, 0x10, "DELETE"},
    {wal::Rmgr::kHeap, 0x20, "UPDATE"},
    {wal::Rmgr::kHeap, 0xA0, "UPDATE+INIT"},
    {wal::Rmgr::kHeap, 0x40, "HOT_UPDATE"},
    {wal::Rmgr::kHeap, 0x50, "HEAP_CONFIRM"},
    {wal::Rmgr::kHeap, 0x60, "LOCK"},
    {wal::Rmgr::kHeap, 0x70, "INPLACE"},
    {wal::Rmgr::kHeap2, 0x10, "PRUNE"},
    {wal::Rmgr::kHeap2, 0x20, "VACUUM"},
    {wal::Rmgr::kHeap2, 0x30, "FREEZE_PAGE"},
    {wal::Rmgr::kHeap2, 0x40, "VISIBLE"},
    {wal::Rmgr::kHeap2, 0x50, "MULTI_INSERT"},
    {wal::Rmgr::kHeap2, 0xD0, "MULTI_INSERT+INIT"},
    {wal::Rmgr::kHeap2, 0x60, "LOCK_UPDATED"},
    {wal::Rmgr::kBtree, 0x00, "INSERT_LEAF"},
    {wal::Rmgr::kBtree, 0x10, "INSERT_UPPER"},
    {wal::Rmgr::kBtree, 0x20, "INSERT_META"},
    {wal::Rmgr::kBtree, 0x30, "SPLIT_L"},
    {wal::Rmgr::kBtree, 0x40, "SPLIT_R"},
    {wal::Rmgr::kBtree, 0x50, "INSERT_POST"},
    {wal::Rmgr::kBtree, 0x60, "DEDUP"},
    {wal::Rmgr::kBtree, 0x70, "DELETE"},
    {wal::Rmgr::kBtree, 0x80, "UNLINK_PAGE"},
    {wal::Rmgr::kBtree, 0x90, "UNLINK_PAGE_META"},
    {wal::Rmgr::kBtree, 0xA0, "NEWROOT"},
    {wal::Rmgr::kBtree, 0xB0, "MARK_PAGE_HALFDEAD"},
    {wal::Rmgr::kBtree, 0xC0, "VACUUM"},
    {wal::Rmgr::kBtree, 0xE0, "META_CLEANUP"},
    {wal::Rmgr::kSequence, 0x00, "LOG"},
    {wal::Rmgr::kGeneric, 0x00, "Generic", false},
};

std::string full_name(const Type& type) {
  return fmt::format("{}/{}", wal::rmgr_name(static_cast<uint8_t>(type.rmgr)), type.name);
}

}  // namespace

std::string type_name(uint8_t rmid, uint8_t operation) {
  for (const Type& type : kTypes) {
    if (static_cast<uint8_t>(type.rmgr) == rmid && type.operation == operation)
      return full_name(type);
  }
  return fmt::format("{}/{:#04x}", wal::rmgr_name(rmid), operation);
}

std::vector<std::string> expected_types() {
  std::vector<std::string> names;
  for (const Type& type : kTypes) {
    if (type.expected) names.push_back(full_name(type));
  }
  return names;
}

}  // namespace varve::oracle
