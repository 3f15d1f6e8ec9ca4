#include "tools/oracle/record_types.h"

#include <cstdint>

#include "wal/record.h"
#include "wal/record_names.h"

namespace varve::oracle {
namespace {

struct Type {
  wal::Rmgr rmgr;
  uint8_t operation;
};

// Not here: images for hint bits, which need wal_log_hints or checksums, and generic records, which
// need an extension's index.
constexpr Type kTypes[] = {
    {wal::Rmgr::kXlog, 0xB0},  {wal::Rmgr::kHeap, 0x00},     {wal::Rmgr::kHeap, 0x80},
    {wal::Rmgr::kHeap, 0x10},  {wal::Rmgr::kHeap, 0x20},     {wal::Rmgr::kHeap, 0xA0},
    {wal::Rmgr::kHeap, 0x40},  {wal::Rmgr::kHeap, 0x50},     {wal::Rmgr::kHeap, 0x60},
    {wal::Rmgr::kHeap, 0x70},  {wal::Rmgr::kHeap2, 0x10},    {wal::Rmgr::kHeap2, 0x20},
    {wal::Rmgr::kHeap2, 0x30}, {wal::Rmgr::kHeap2, 0x40},    {wal::Rmgr::kHeap2, 0x50},
    {wal::Rmgr::kHeap2, 0xD0}, {wal::Rmgr::kHeap2, 0x60},    {wal::Rmgr::kBtree, 0x00},
    {wal::Rmgr::kBtree, 0x10}, {wal::Rmgr::kBtree, 0x20},    {wal::Rmgr::kBtree, 0x30},
    {wal::Rmgr::kBtree, 0x40}, {wal::Rmgr::kBtree, 0x50},    {wal::Rmgr::kBtree, 0x60},
    {wal::Rmgr::kBtree, 0x70}, {wal::Rmgr::kBtree, 0x80},    {wal::Rmgr::kBtree, 0x90},
    {wal::Rmgr::kBtree, 0xA0}, {wal::Rmgr::kBtree, 0xB0},    {wal::Rmgr::kBtree, 0xC0},
    {wal::Rmgr::kBtree, 0xE0}, {wal::Rmgr::kSequence, 0x00},
};

}  // namespace

std::vector<std::string> expected_types(const wal::Version& version) {
  std::vector<std::string> names;
  for (const Type& type : kTypes) {
    names.push_back(wal::record_name(version, static_cast<uint8_t>(type.rmgr), type.operation));
  }
  return names;
}

}  // namespace varve::oracle
