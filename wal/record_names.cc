#include "wal/record_names.h"

#include <array>

#include "wal/record.h"

namespace varve::wal {
namespace {

// One name for each value of the info byte's high half; null where there is none.
using Names = std::array<const char*, 16>;

constexpr Names kXlog = {"CHECKPOINT_SHUTDOWN",
                         "CHECKPOINT_ONLINE",
                         "NOOP",
                         "NEXTOID",
                         "SWITCH",
                         "BACKUP_END",
                         "PARAMETER_CHANGE",
                         "RESTORE_POINT",
                         "FPW_CHANGE",
                         "END_OF_RECOVERY",
                         "FPI_FOR_HINT",
                         "FPI",
                         nullptr,
                         "OVERWRITE_CONTRECORD"};
constexpr Names kTransaction = {"COMMIT",         "PREPARE",    "ABORT",       "COMMIT_PREPARED",
                                "ABORT_PREPARED", "ASSIGNMENT", "INVALIDATION"};
constexpr Names kStorage = {nullptr, "CREATE", "TRUNCATE"};
constexpr Names kClog = {"ZEROPAGE", "TRUNCATE"};
constexpr Names kDatabase = {"CREATE_FILE_COPY", "CREATE_WAL_LOG", "DROP"};
constexpr Names kDatabase14 = {"CREATE", "DROP"};
constexpr Names kTablespace = {"CREATE", "DROP"};
constexpr Names kMultiXact = {"ZERO_OFF_PAGE", "ZERO_MEM_PAGE", "CREATE_ID", "TRUNCATE_ID"};
constexpr Names kRelationMap = {"UPDATE"};
constexpr Names kStandby = {"LOCK", "RUNNING_XACTS", "INVALIDATIONS"};
constexpr Names kHeap2 = {
    "REWRITE", "PRUNE", "VACUUM", "FREEZE_PAGE", "VISIBLE", "MULTI_INSERT", "LOCK_UPDATED",
    "NEW_CID", nullptr, nullptr,  nullptr,       nullptr,   nullptr,        "MULTI_INSERT+INIT"};
constexpr Names kHeap2From17 = {"REWRITE",
                                "PRUNE_ON_ACCESS",
                                "PRUNE_VACUUM_SCAN",
                                "PRUNE_VACUUM_CLEANUP",
                                "VISIBLE",
                                "MULTI_INSERT",
                                "LOCK_UPDATED",
                                "NEW_CID",
                                nullptr,
                                nullptr,
                                nullptr,
                                nullptr,
                                nullptr,
                                "MULTI_INSERT+INIT"};
constexpr Names kHeap = {"INSERT",      "DELETE", "UPDATE",         "TRUNCATE",    "HOT_UPDATE",
                         "CONFIRM",     "LOCK",   "INPLACE",        "INSERT+INIT", nullptr,
                         "UPDATE+INIT", nullptr,  "HOT_UPDATE+INIT"};
constexpr Names kBtree = {"INSERT_LEAF", "INSERT_UPPER",     "INSERT_META", "SPLIT_L",
                          "SPLIT_R",     "INSERT_POST",      "DEDUP",       "DELETE",
                          "UNLINK_PAGE", "UNLINK_PAGE_META", "NEWROOT",     "MARK_PAGE_HALFDEAD",
                          "VACUUM",      "REUSE_PAGE",       "META_CLEANUP"};
constexpr Names kHash = {"INIT_META_PAGE", "INIT_BITMAP_PAGE",    "INSERT",
                         "ADD_OVFL_PAGE",  "SPLIT_ALLOCATE_PAGE", "SPLIT_PAGE",
                         "SPLIT_COMPLETE", "MOVE_PAGE_CONTENTS",  "SQUEEZE_PAGE",
                         "DELETE",         "SPLIT_CLEANUP",       "UPDATE_META_PAGE",
                         "VACUUM_ONE_PAGE"};
constexpr Names kGin = {
    nullptr,           "CREATE_PTREE",         "INSERT",           "SPLIT",
    "VACUUM_PAGE",     "DELETE_PAGE",          "UPDATE_META_PAGE", "INSERT_LISTPAGE",
    "DELETE_LISTPAGE", "VACUUM_DATA_LEAF_PAGE"};
constexpr Names kGist = {"PAGE_UPDATE", "DELETE", "PAGE_REUSE",  "PAGE_SPLIT",
                         nullptr,       nullptr,  "PAGE_DELETE", "ASSIGN_LSN"};
constexpr Names kSequence = {"LOG"};
constexpr Names kSpgist = {nullptr,       "ADD_LEAF",    "MOVE_LEAFS",
                           "ADD_NODE",    "SPLIT_TUPLE", "PICKSPLIT",
                           "VACUUM_LEAF", "VACUUM_ROOT", "VACUUM_REDIRECT"};
constexpr Names kBrin = {"CREATE_INDEX",  "INSERT",      "UPDATE",     "SAMEPAGE_UPDATE",
                         "REVMAP_EXTEND", "DESUMMARIZE", nullptr,      nullptr,
                         nullptr,         "INSERT+INIT", "UPDATE+INIT"};
constexpr Names kReplicationOrigin = {"SET", "DROP"};
constexpr Names kGeneric = {"Generic"};
constexpr Names kLogicalMessage = {"MESSAGE"};

const Names* names_of(const Version& version, uint8_t rmid) {
  if (rmid > static_cast<uint8_t>(Rmgr::kLogicalMessage)) return nullptr;
  switch (static_cast<Rmgr>(rmid)) {
    case Rmgr::kXlog:
      return &kXlog;
    case Rmgr::kTransaction:
      return &kTransaction;
    case Rmgr::kStorage:
      return &kStorage;
    case Rmgr::kClog:
      return &kClog;
    case Rmgr::kDatabase:
      return version.database_create_by_log ? &kDatabase : &kDatabase14;
    case Rmgr::kTablespace:
      return &kTablespace;
    case Rmgr::kMultiXact:
      return &kMultiXact;
    case Rmgr::kRelationMap:
      return &kRelationMap;
    case Rmgr::kStandby:
      return &kStandby;
    case Rmgr::kHeap2:
      return version.major >= 17 ? &kHeap2From17 : &kHeap2;
    case Rmgr::kHeap:
      return &kHeap;
    case Rmgr::kBtree:
      return &kBtree;
    case Rmgr::kHash:
      return &kHash;
    case Rmgr::kGin:
      return &kGin;
    case Rmgr::kGist:
      return &kGist;
    case Rmgr::kSequence:
      return &kSequence;
    case Rmgr::kSpgist:
      return &kSpgist;
    case Rmgr::kBrin:
      return &kBrin;
    case Rmgr::kCommitTimestamp:
      return &kClog;
    case Rmgr::kReplicationOrigin:
      return &kReplicationOrigin;
    case Rmgr::kGeneric:
      return &kGeneric;
    case Rmgr::kLogicalMessage:
      return &kLogicalMessage;
  }
  return nullptr;
}

}  // namespace

std::string operation_name(const Version& version, uint8_t rmid, uint8_t info) {
  uint8_t operation = info >> 4;
  // The highest bit of a transaction record says that more fields follow, not what it is.
  if (rmid == static_cast<uint8_t>(Rmgr::kTransaction)) operation &= 7;
  if (rmid == static_cast<uint8_t>(Rmgr::kXlog) && operation == 0xE && version.major >= 17)
    return "CHECKPOINT_REDO";
  const Names* names = names_of(version, rmid);
  if (names != nullptr && (*names)[operation] != nullptr) return (*names)[operation];
  constexpr char kDigits[] = "0123456789abcdef";
  const std::string digit(1, kDigits[operation]);
  return "UNKNOWN (" + (operation == 0 ? std::string("0") : digit + "0") + ")";
}

std::string record_name(const Version& version, uint8_t rmid, uint8_t info) {
  return std::string(rmgr_name(rmid)) + "/" + operation_name(version, rmid, info);
}

}  // namespace varve::wal
