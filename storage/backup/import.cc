#include "storage/backup/import.h"

#include <algorithm>
#include <charconv>
#include <map>
#include <optional>
#include <set>
#include <string_view>

#include "storage/key.h"
#include "storage/value.h"
#include "wal/checkpoint_state.h"
#include "wal/control_file.h"
#include "wal/decoder.h"
#include "wal/extent.h"

namespace varve::storage {
namespace {

constexpr uint32_t kSegmentBlocks = 131072;  // of a relation's file: 1 GiB
constexpr std::string_view kControlPath = "global/pg_control";

std::optional<uint32_t> parse_number(std::string_view text, int base) {
  uint32_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  if (text.empty() || error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

// "16384", "16384_vm", "16384_vm.1".
struct RelationFile {
  uint32_t relation = 0;
  wal::Fork fork = wal::Fork::kMain;
  uint32_t segment = 0;
};

std::optional<RelationFile> parse_relation_file(std::string_view name) {
  RelationFile file;
  if (const size_t dot = name.find('.'); dot != std::string_view::npos) {
    const std::optional<uint32_t> segment = parse_number(name.substr(dot + 1), 10);
    if (!segment) return std::nullopt;
    file.segment = *segment;
    name = name.substr(0, dot);
  }
  if (const size_t bar = name.find('_'); bar != std::string_view::npos) {
    const std::string_view fork = name.substr(bar + 1);
    if (fork == "fsm") {
      file.fork = wal::Fork::kFreeSpace;
    } else if (fork == "vm") {
      file.fork = wal::Fork::kVisibility;
    } else if (fork == "init") {
      file.fork = wal::Fork::kInit;
    } else {
      return std::nullopt;
    }
    name = name.substr(0, bar);
  }
  const std::optional<uint32_t> relation = parse_number(name, 10);
  if (!relation || *relation == 0) return std::nullopt;
  file.relation = *relation;
  return file;
}

// Writes image layers one after another that tile all keys.
class ImageTiler {
 public:
  ImageTiler(const TenantId& tenant, const TimelineId& timeline, Lsn lsn,
             const ImportOptions& options, const LayerSink& sink)
      : tenant_(tenant), timeline_(timeline), lsn_(lsn), options_(options), sink_(sink) {}

  Status add(const Key& key, std::span<const uint8_t> value) {
    if (writer_ && writer_->size() >= options_.target_layer_bytes) VARVE_TRY(end_file(key));
    if (!writer_) {
      writer_.emplace(LayerKind::kImage, tenant_, timeline_, LsnRange{lsn_, lsn_ + 1},
                      options_.format);
    }
    writer_->add(key, lsn_, value);
    return Status();
  }
  Status add_page(const Key& key, std::span<const uint8_t> page) {
    const bool zero = std::ranges::all_of(page, [](uint8_t byte) { return byte == 0; });
    return add(key, zero ? make_value(ValueKind::kZeroPage) : make_value(ValueKind::kImage, page));
  }
  Result<std::vector<LayerRef>> finish() {
    VARVE_CHECK(writer_.has_value());
    VARVE_TRY(end_file(Key::highest()));
    return std::move(layers_);
  }

 private:
  Status end_file(const Key& end) {
    LayerWriter::Finished file = writer_->finish({start_, end});
    start_ = end;
    writer_.reset();
    VARVE_TRY_ASSIGN(LayerRef layer, sink_(std::move(file.descriptor), file.content));
    layers_.push_back(std::move(layer));
    return Status();
  }
  TenantId tenant_;
  TimelineId timeline_;
  Lsn lsn_;
  const ImportOptions& options_;
  const LayerSink& sink_;
  Key start_ = Key::lowest();
  std::optional<LayerWriter> writer_;
  std::vector<LayerRef> layers_;
};

class Importer {
 public:
  Importer(const ClusterFiles& files, const TenantId& tenant, const TimelineId& timeline,
           const ImportOptions& options, const LayerSink& sink)
      : files_(files), tenant_(tenant), timeline_(timeline), options_(options), sink_(sink) {}

  Result<ImportedCluster> run() {
    VARVE_TRY(read_identity());
    VARVE_TRY(read_log());
    for (const ClusterFiles::File& file : files_.files) VARVE_TRY(classify(file));
    ImageTiler tiler(tenant_, timeline_, lsn_, options_, sink_);
    VARVE_TRY(write_relations(tiler));
    VARVE_TRY(write_status_files(tiler));
    for (const auto& [key, payload] : metadata_) {
      VARVE_TRY(tiler.add(key, make_value(ValueKind::kImage, payload)));
    }
    VARVE_TRY_ASSIGN(imported_.index.layers, tiler.finish());
    return std::move(imported_);
  }

 private:
  static Status refused(std::string what, std::string path) {
    return Status(Code::kRefused, std::move(what)).with_object(std::move(path));
  }

  Status read_identity() {
    VARVE_TRY_ASSIGN(const Bytes version_text, files_.read("PG_VERSION"));
    std::string_view text = version_text.view();
    while (!text.empty() && text.back() == '\n') text.remove_suffix(1);
    const std::optional<uint32_t> major = parse_number(text, 10);
    if (major) version_ = wal::version_of_major(static_cast<uint16_t>(*major));
    if (version_ == nullptr) {
      return Status(Code::kUnsupported, "a cluster of an unknown major version")
          .with_object("PG_VERSION");
    }
    VARVE_TRY_ASSIGN(const Bytes bytes, files_.read(std::string(kControlPath)));
    VARVE_TRY_ASSIGN(control_, wal::parse_control_file(*version_, bytes));
    if (control_.state != wal::ClusterState::kShutDown) {
      return refused("the cluster was not stopped cleanly but is '" +
                         std::string(wal::cluster_state_name(control_.state)) + "'",
                     std::string(kControlPath));
    }
    if (control_.data_checksum_version != 0) {
      return refused("the cluster has data checksums, which are not supported yet",
                     std::string(kControlPath));
    }
    ClusterIdentity& cluster = imported_.index.cluster;
    cluster.postgres_major = version_->major;
    cluster.system_id = control_.system_id;
    cluster.segment_size = control_.segment_size;
    const wal::CheckpointState state(control_.checkpoint, control_.parameters);
    const auto encoded = state.encode(*version_);
    metadata_[Key::make(KeyKind::kCheckpointState)].assign(encoded.begin(), encoded.end());
    metadata_[Key::make(KeyKind::kControlFile)].assign(bytes.data(), bytes.data() + bytes.size());
    return Status();
  }

  // The checkpoint's record says where the timeline starts, and must be the last one.
  Status read_log() {
    const Lsn start = control_.checkpoint_record;
    const uint32_t segment_size = control_.segment_size;
    const std::string path =
        "pg_wal/" + wal::segment_file_name(
                        {control_.checkpoint.timeline, start.segment(segment_size)}, segment_size);
    VARVE_TRY_ASSIGN(const Bytes segment, files_.read(path));
    wal::DecoderOptions options;
    options.identity = control_.identity(*version_);
    wal::Decoder decoder(options);
    decoder.reset(start, std::nullopt);
    const Lsn from = decoder.fed_to();
    if (from.segment_offset(segment_size) >= segment.size()) {
      return Status(Code::kCorrupt, "the log ends before the checkpoint").with_object(path);
    }
    decoder.feed(from, segment.span().subspan(from.segment_offset(segment_size)));
    wal::Record record;
    if (decoder.next(record) != wal::Step::kRecord || !record.is(wal::Rmgr::kXlog) ||
        record.operation() != 0) {
      return Status(Code::kCorrupt, "no shutdown checkpoint where pg_control says")
          .with_object(path);
    }
    const LogPosition position{record.end, record.start,
                               WallTime::from_unix_micros(control_.checkpoint.time * 1000000)};
    lsn_ = record.end;
    if (decoder.next(record) == wal::Step::kRecord) {
      return refused("the log goes on after the shutdown checkpoint", path);
    }
    imported_.index.start = position;
    imported_.index.flushed = position;
    const uint32_t end = lsn_.segment_offset(segment_size);
    imported_.log_prefix = end == 0 ? segment : segment.slice(0, end);
    return Status();
  }

  Status classify(const ClusterFiles::File& file) {
    const std::string_view path = file.path;
    const size_t slash = path.rfind('/');
    if (slash == std::string_view::npos) return Status();
    const std::string_view directory = path.substr(0, slash);
    const std::string_view name = path.substr(slash + 1);
    if (directory == "global") return add_relation_file(file, name, kGlobalTablespace, 0);
    if (directory.starts_with("base/")) {
      const std::optional<uint32_t> database = parse_number(directory.substr(5), 10);
      if (!database) return Status();
      return add_relation_file(file, name, kDefaultTablespace, *database);
    }
    if (directory.starts_with("pg_tblspc")) {
      return refused("the cluster has tablespaces, which are not supported", file.path);
    }
    for (const wal::Slru slru : {wal::Slru::kClog, wal::Slru::kCommitTimestamp,
                                 wal::Slru::kMultiXactOffset, wal::Slru::kMultiXactMember}) {
      if (directory != wal::slru_directory(slru)) continue;
      const std::optional<uint32_t> segment = parse_number(name, 16);
      if (!segment || file.size % kBlockSize != 0) return refused("not a status file", file.path);
      segments_[Key::slru_segment(slru, *segment)] = file;
    }
    if (directory == "pg_twophase") return add_two_phase(file, name);
    return Status();
  }

  Status add_relation_file(const ClusterFiles::File& file, std::string_view name,
                           uint32_t tablespace, uint32_t database) {
    if (name == "PG_VERSION" || tablespace == kGlobalTablespace) {
      metadata_[Key::database(tablespace, database)] = encode_u64(lsn_.value);
    }
    if (name == "pg_filenode.map") {
      VARVE_TRY_ASSIGN(const Bytes map, files_.read(file.path));
      metadata_[Key::relation_map(tablespace, database)].assign(map.data(),
                                                                map.data() + map.size());
      return Status();
    }
    const std::optional<RelationFile> parsed = parse_relation_file(name);
    if (!parsed || parsed->fork == wal::Fork::kFreeSpace) return Status();
    if (file.size % kBlockSize != 0) {
      return Status(Code::kCorrupt, "a relation's file is not made of whole blocks")
          .with_object(file.path);
    }
    const wal::RelationId relation{tablespace, database, parsed->relation};
    if (parsed->fork == wal::Fork::kInit) unlogged_.insert(relation);
    forks_[{relation, parsed->fork}][parsed->segment] = file;
    return Status();
  }

  // pg_twophase files end in a checksum that is made anew for a backup.
  Status add_two_phase(const ClusterFiles::File& file, std::string_view name) {
    const std::optional<uint32_t> xid =
        parse_number(name.size() > 8 ? name.substr(name.size() - 8) : name, 16);
    if (!xid || file.size < 4) return refused("not a prepared transaction's file", file.path);
    VARVE_TRY_ASSIGN(const Bytes bytes, files_.read(file.path));
    const wal::CheckpointState state(control_.checkpoint, control_.parameters);
    metadata_[Key::two_phase(state.widen(*xid))].assign(bytes.data(),
                                                        bytes.data() + bytes.size() - 4);
    return Status();
  }

  Status write_relations(ImageTiler& tiler) {
    for (const auto& [fork, segments] : forks_) {
      const auto& [relation, kind] = fork;
      if (kind != wal::Fork::kInit && unlogged_.contains(relation)) continue;
      RelationSize size;
      size.created = lsn_;
      uint32_t expected = 0;
      for (const auto& [segment, file] : segments) {
        if (segment != expected++) return refused("a segment is missing before it", file.path);
        VARVE_TRY_ASSIGN(const Bytes bytes, files_.read(file.path));
        for (size_t at = 0; at + kBlockSize <= bytes.size(); at += kBlockSize) {
          const Key key = Key::block({relation, kind, size.blocks++});
          VARVE_TRY(tiler.add_page(key, bytes.span().subspan(at, kBlockSize)));
        }
        if (size.blocks % kSegmentBlocks != 0 && segments.size() > expected) {
          return refused("a segment before the last is not full", file.path);
        }
      }
      metadata_[Key::relation_size(relation, kind)] = size.encode();
    }
    return Status();
  }

  Status write_status_files(ImageTiler& tiler) {
    for (const auto& [key, file] : segments_) {
      VARVE_TRY_ASSIGN(const Bytes bytes, files_.read(file.path));
      uint32_t pages = 0;
      for (size_t at = 0; at + kBlockSize <= bytes.size(); at += kBlockSize) {
        const Key page =
            Key::make(KeyKind::kSlruBlock, key.a(), key.b() * wal::kSlruPagesPerSegment + pages++);
        VARVE_TRY(tiler.add_page(page, bytes.span().subspan(at, kBlockSize)));
      }
      if (pages > 0) metadata_[key] = encode_u32(pages);
    }
    return Status();
  }

  const ClusterFiles& files_;
  TenantId tenant_;
  TimelineId timeline_;
  const ImportOptions& options_;
  const LayerSink& sink_;
  const wal::Version* version_ = nullptr;
  wal::ControlFile control_;
  Lsn lsn_;
  ImportedCluster imported_;
  std::map<std::pair<wal::RelationId, wal::Fork>, std::map<uint32_t, ClusterFiles::File>> forks_;
  std::set<wal::RelationId> unlogged_;
  std::map<Key, ClusterFiles::File> segments_;
  std::map<Key, std::vector<uint8_t>> metadata_;
};

Status list_files(Disk& disk, const std::string& directory, const std::string& relative,
                  std::vector<ClusterFiles::File>& files) {
  const std::string path = relative.empty() ? directory : directory + "/" + relative;
  VARVE_TRY_ASSIGN(const std::vector<DirectoryEntry> entries, disk.list(path));
  for (const DirectoryEntry& entry : entries) {
    const std::string name = relative.empty() ? entry.name : relative + "/" + entry.name;
    if (entry.is_directory) {
      VARVE_TRY(list_files(disk, directory, name, files));
    } else {
      files.push_back({name, entry.size});
    }
  }
  return Status();
}

}  // namespace

Result<ClusterFiles> cluster_files_on_disk(Disk& disk, const std::string& directory) {
  ClusterFiles files;
  VARVE_TRY(list_files(disk, directory, "", files.files));
  files.read = [&disk, directory](const std::string& path) {
    return read_file(disk, directory + "/" + path, uint64_t{2} << 30);
  };
  return files;
}

Result<ImportedCluster> import_cluster(const ClusterFiles& files, const TenantId& tenant,
                                       const TimelineId& timeline, const ImportOptions& options,
                                       const LayerSink& sink) {
  return Importer(files, tenant, timeline, options, sink).run();
}

}  // namespace varve::storage
