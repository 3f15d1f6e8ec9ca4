#include "tests/compute/directory_manifest.h"

#include <cstdlib>
#include <filesystem>
#include <map>

#include "tests/wal/stock_server.h"
#include "wal/control_file.h"
#include "wal/extent.h"
#include "wal/slru.h"
#include "wal/version.h"

namespace varve::test {
namespace {

namespace fs = std::filesystem;

uint32_t blocks_of(const fs::directory_entry& file) {
  return static_cast<uint32_t>(file.file_size() / kBlockSize);
}

void add_relations(const std::string& directory, uint32_t tablespace, uint32_t database,
                   compute::Manifest& m) {
  std::map<std::pair<uint32_t, wal::Fork>, uint32_t> sizes;
  for (const auto& item : fs::directory_iterator(directory)) {
    const std::string name = item.path().filename().string();
    if (name[0] < '0' || name[0] > '9') continue;
    char* rest = nullptr;
    const auto relation = static_cast<uint32_t>(std::strtoul(name.c_str(), &rest, 10));
    const std::string suffix = rest;
    wal::Fork fork = wal::Fork::kMain;
    if (suffix.starts_with("_fsm")) fork = wal::Fork::kFreeSpace;
    if (suffix.starts_with("_vm")) fork = wal::Fork::kVisibility;
    if (suffix.starts_with("_init")) fork = wal::Fork::kInit;
    sizes[{relation, fork}] += blocks_of(item);
  }
  for (const auto& [key, blocks] : sizes)
    m.forks.push_back({{tablespace, database, key.first}, key.second, blocks});
  m.relation_maps.push_back(
      {tablespace, database, Bytes::copy(read_file(directory + "/pg_filenode.map"))});
}

}  // namespace

compute::Manifest manifest_of(const std::string& directory) {
  compute::Manifest m;
  m.major = 15;
  const wal::Version& version = *wal::version_of_major(m.major);
  m.control_file = Bytes::copy(read_file(directory + "/global/pg_control"));
  const auto control = wal::parse_control_file(version, m.control_file.span());
  if (!control.ok() || control->state != wal::ClusterState::kShutDown) std::abort();
  m.previous = control->checkpoint_record;
  m.lsn = m.ingested = wal::record_extent(m.previous, 114, false, control->segment_size).end;
  m.state = wal::CheckpointState(control->checkpoint, control->parameters);
  add_relations(directory + "/global", 1664, 0, m);
  for (const auto& item : fs::directory_iterator(directory + "/base")) {
    const auto database =
        static_cast<uint32_t>(std::strtoul(item.path().filename().c_str(), nullptr, 10));
    m.databases.push_back({1663, database});
    add_relations(item.path().string(), 1663, database, m);
  }
  for (const wal::Slru slru : {wal::Slru::kClog, wal::Slru::kCommitTimestamp,
                               wal::Slru::kMultiXactOffset, wal::Slru::kMultiXactMember}) {
    for (const auto& item : fs::directory_iterator(directory + "/" + wal::slru_directory(slru))) {
      const auto segment =
          static_cast<uint32_t>(std::strtoul(item.path().filename().c_str(), nullptr, 16));
      m.slru_segments.push_back({slru, segment, blocks_of(item)});
    }
  }
  for (const auto& item : fs::directory_iterator(directory + "/pg_twophase")) {
    m.two_phase.push_back({std::strtoull(item.path().filename().c_str(), nullptr, 16),
                           Bytes::copy(read_file(item.path().string()))});
  }
  return m;
}

}  // namespace varve::test
