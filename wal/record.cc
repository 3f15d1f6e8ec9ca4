#include "wal/record.h"

namespace varve::wal {

std::string RelationId::to_string() const {
  return std::to_string(tablespace) + "/" + std::to_string(database) + "/" +
         std::to_string(relation);
}

std::string BlockId::to_string() const {
  static constexpr const char* kForks[] = {"main", "fsm", "vm", "init"};
  return relation.to_string() + " " + kForks[static_cast<uint8_t>(fork) & 3] + " block " +
         std::to_string(block);
}

const char* rmgr_name(uint8_t rmid) {
  static constexpr const char* kNames[] = {
      "XLOG",       "Transaction",   "Storage", "CLOG",     "Database",
      "Tablespace", "MultiXact",     "RelMap",  "Standby",  "Heap2",
      "Heap",       "Btree",         "Hash",    "Gin",      "Gist",
      "Sequence",   "SPGist",        "BRIN",    "CommitTs", "ReplicationOrigin",
      "Generic",    "LogicalMessage"};
  if (rmid < std::size(kNames)) return kNames[rmid];
  return rmid >= 128 ? "custom" : "unknown";
}

}  // namespace varve::wal
