#include "compute/agent/relation_path.h"

namespace varve::compute {

Result<std::string> database_directory(uint32_t tablespace, uint32_t database) {
  if (tablespace == kSharedTablespace && database == 0) return std::string("global");
  if (tablespace == kDefaultTablespace && database != 0) return "base/" + std::to_string(database);
  return Status(Code::kUnsupported, "tablespaces are not supported: tablespace " +
                                        std::to_string(tablespace) + " holds database " +
                                        std::to_string(database))
      .with_hint("move what is in it to pg_default before the import");
}

Result<std::string> relation_path(const wal::RelationId& relation, wal::Fork fork,
                                  uint32_t segment) {
  VARVE_TRY_ASSIGN(std::string path, database_directory(relation.tablespace, relation.database));
  path += "/" + std::to_string(relation.relation);
  switch (fork) {
    case wal::Fork::kMain:
      break;
    case wal::Fork::kFreeSpace:
      path += "_fsm";
      break;
    case wal::Fork::kVisibility:
      path += "_vm";
      break;
    case wal::Fork::kInit:
      path += "_init";
      break;
  }
  if (segment > 0) path += "." + std::to_string(segment);
  return path;
}

}  // namespace varve::compute
