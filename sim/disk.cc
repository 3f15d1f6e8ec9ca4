#include "sim/disk.h"

#include <algorithm>

#include "base/crc32c.h"

namespace varve::sim {
namespace {

uint32_t checksum(std::span<const Bytes> pieces) {
  uint32_t crc = 0;
  for (const Bytes& piece : pieces) crc = crc32c(piece, crc);
  return crc;
}

void apply(FileContent& file, uint64_t offset, std::span<const Bytes> data) {
  for (const Bytes& piece : data) {
    file.write(offset, piece);
    offset += piece.size();
  }
}

}  // namespace

// What an open file needs to finish what it began, after its handle is gone, too.
struct OpenFile : std::enable_shared_from_this<OpenFile> {
  NodeDisk& disk;
  Life& life;
  std::shared_ptr<FileContent> content;
  std::string path;
  bool writable;

  OpenFile(NodeDisk& d, Life& l, std::shared_ptr<FileContent> c, std::string p, bool w)
      : disk(d), life(l), content(std::move(c)), path(std::move(p)), writable(w) {}

  Result<std::vector<Bytes>> read(std::vector<ReadOperation> operations);
  Status write(uint64_t offset, std::vector<Bytes> data, bool durable);
  Status sync();
  Status truncate(uint64_t size);
  Status punch(uint64_t offset, uint64_t length);

  Status check_writable() const;
  std::vector<Bytes> read_now(std::span<const ReadOperation> operations);
  Status complete_write(std::list<NodeDisk::WriteUnderWay>::iterator write);
  Status finish_sync(const SyncSnapshot& snapshot);
};

class LifeFile : public File {
 public:
  explicit LifeFile(std::shared_ptr<OpenFile> file) : file_(std::move(file)) {}

  Result<std::vector<Bytes>> read(std::vector<ReadOperation> operations) override {
    return file_->read(std::move(operations));
  }
  Status write(uint64_t offset, std::vector<Bytes> data) override {
    return file_->write(offset, std::move(data), false);
  }
  Status write_durable(uint64_t offset, std::vector<Bytes> data) override {
    return file_->write(offset, std::move(data), true);
  }
  Status sync() override { return file_->sync(); }
  Status truncate(uint64_t size) override { return file_->truncate(size); }
  Status punch(uint64_t offset, uint64_t length) override { return file_->punch(offset, length); }
  Result<uint64_t> size() override { return file_->content->size(); }
  const std::string& path() const override { return file_->path; }

 private:
  std::shared_ptr<OpenFile> file_;
};

class LifeDisk : public Disk {
 public:
  LifeDisk(NodeDisk& disk, Life& life) : disk_(disk), life_(life) {}

  Result<std::unique_ptr<File>> open(std::string_view path, OpenMode mode) override;
  Status make_directory(std::string_view path) override {
    return name_call(path,
                     [path = std::string(path)](DiskImage& i) { return i.make_directory(path); });
  }
  Status rename(std::string_view from, std::string_view to) override {
    return name_call(to, [from = std::string(from), to = std::string(to)](DiskImage& image) {
      return image.rename(from, to);
    });
  }
  Status remove(std::string_view path) override {
    return name_call(path, [path = std::string(path)](DiskImage& i) { return i.remove(path); });
  }
  Result<std::vector<DirectoryEntry>> list(std::string_view path) override;
  Status sync_directory(std::string_view path) override;
  Status sync_all() override;
  Result<DiskSpace> space() override;

 private:
  Status name_call(std::string_view path, std::function<Status(DiskImage&)> change);

  NodeDisk& disk_;
  Life& life_;
};

NodeDisk::NodeDisk(Engine& engine, NodeId node, const std::string& name)
    : engine_(engine), random_(engine.random("disk").fork(name + "/" + node.to_string())) {}

std::unique_ptr<Disk> NodeDisk::open_for(Life& life) {
  return std::make_unique<LifeDisk>(*this, life);
}

Duration NodeDisk::latency(Duration mean, Life& life) {
  Duration latency = engine_.around(mean, random_);
  if (random_.chance(engine_.plan.disk.slow_rate)) {
    latency = latency * static_cast<int64_t>(random_.between(2, 100));
  }
  if (hang_until_ > engine_.now()) {
    count_once(hang_counted_, FaultKind::kDiskHang, life);
    latency = latency + Duration::nanos(hang_until_ - engine_.now());
  }
  return latency;
}

Status NodeDisk::check_room(uint64_t growth, const std::string& path, Life& life) {
  if (growth == 0) return Status();
  const bool filled = full_until_ > engine_.now();
  const uint64_t capacity = engine_.plan.disk.capacity;
  // Adding up what exists takes a walk over all files; far from full a bound from above will do.
  allocated_bound_ += growth;
  if (allocated_bound_ > capacity / 2) allocated_bound_ = image_.allocated() + growth;
  if (!filled && allocated_bound_ <= capacity) return Status();
  if (filled) count_once(full_counted_, FaultKind::kDiskFull, life);
  return Status(Code::kFull, "no space left on the disk").with_object(path);
}

void NodeDisk::interrupt_writes() {
  for (WriteUnderWay& write : under_way_) {
    uint64_t left = random_.below(total_size(write.data) + 1);
    uint64_t offset = write.offset;
    for (const Bytes& piece : write.data) {
      const size_t length = std::min<uint64_t>(left, piece.size());
      write.file->write(offset, piece.slice(0, length));
      offset += length;
      left -= length;
    }
  }
  under_way_.clear();
  strike_ = nullptr;
}

void NodeDisk::process_crash(Life&) {
  interrupt_writes();
  image_.process_crash();
}

void NodeDisk::power_cut(Life& life) {
  interrupt_writes();
  const DiskModel& model = engine_.plan.disk;
  const DiskImage::Damage damage = image_.power_cut(model.keep_sector_rate, model.tear_sector_rate,
                                                    model.keep_name_rate, random_);
  if (damage.lost_sector) engine_.fault(FaultKind::kLostSector, &life);
  if (damage.torn_sector) engine_.fault(FaultKind::kTornSector, &life);
  if (damage.lost_name) engine_.fault(FaultKind::kLostName, &life);
}

// --- Files ---

std::vector<Bytes> OpenFile::read_now(std::span<const ReadOperation> operations) {
  std::vector<Bytes> pieces;
  for (const ReadOperation& operation : operations) {
    const bool rots = disk.random_.chance(life.engine.plan.disk.bit_rot_rate) && disk.may_rot_;
    if (rots && operation.length != 0 && operation.offset < content->size()) {
      const uint64_t end = std::min(operation.offset + operation.length, content->size());
      const uint64_t at = operation.offset + disk.random_.below(end - operation.offset);
      if (content->rot(at, disk.random_)) life.engine.fault(FaultKind::kBitRot, &life);
    }
    pieces.push_back(content->read(operation.offset, operation.length));
  }
  return pieces;
}

Result<std::vector<Bytes>> OpenFile::read(std::vector<ReadOperation> operations) {
  return perform<std::vector<Bytes>>(
      life, "disk read", disk.latency(life.engine.plan.disk.read_latency, life),
      [this, self = shared_from_this(),
       operations = std::move(operations)]() -> Result<std::vector<Bytes>> {
        if (disk.random_.chance(life.engine.plan.disk.read_error_rate)) {
          life.engine.fault(FaultKind::kReadError, &life);
          return Status(Code::kUnavailable, "the disk could not read").with_object(path);
        }
        std::vector<Bytes> pieces = read_now(operations);
        life.engine.record(&life, EventKind::kRead, hash_label(path), total_size(pieces),
                           checksum(pieces));
        return pieces;
      });
}

Status OpenFile::check_writable() const {
  if (!writable) {
    return Status(Code::kRefused, "the file was opened for reading only").with_object(path);
  }
  if (content->abandoned_write) {
    return Status(Code::kRefused,
                  "an earlier write was abandoned; nobody knows what the file holds")
        .with_object(path);
  }
  return Status();
}

Status OpenFile::complete_write(std::list<NodeDisk::WriteUnderWay>::iterator write) {
  const NodeDisk::WriteUnderWay done = std::move(*write);
  disk.under_way_.erase(write);
  const uint64_t size = total_size(done.data);
  const std::pair<uint64_t, uint64_t> range{done.offset, done.offset + size};
  auto& writing = done.file->writing;
  writing.erase(std::find(writing.begin(), writing.end(), range));
  if (disk.random_.chance(life.engine.plan.disk.write_error_rate)) {
    life.engine.fault(FaultKind::kWriteError, &life);
    const Bytes all = concatenate(done.data);
    done.file->write(done.offset, all.slice(0, disk.random_.below(size + 1)));
    return Status(Code::kUnavailable, "the disk could not write").with_object(path);
  }
  VARVE_TRY(disk.check_room(done.file->growth(done.offset, size), path, life));
  apply(*done.file, done.offset, done.data);
  life.engine.record(&life, EventKind::kWrite, hash_label(path), size, checksum(done.data));
  return Status();
}

Status OpenFile::finish_sync(const SyncSnapshot& snapshot) {
  Engine& engine = life.engine;
  if (disk.random_.chance(engine.plan.disk.sync_error_rate)) {
    engine.fault(FaultKind::kSyncError, &life);
    content->fail_sync(disk.random_);
    engine.end_life(life, false);
    return Status(Code::kInternal, "the disk could not sync").with_object(path);
  }
  content->finish_sync(snapshot);
  engine.record(&life, EventKind::kSync, hash_label(path), snapshot.size);
  return Status();
}

Status OpenFile::write(uint64_t offset, std::vector<Bytes> data, bool durable) {
  VARVE_TRY(check_cancelled());
  VARVE_TRY(check_writable());
  const uint64_t size = total_size(data);
  const std::pair<uint64_t, uint64_t> range{offset, offset + size};
  for (const auto& [start, end] : content->writing) {
    VARVE_CHECK_MSG(end <= range.first || start >= range.second,
                    "concurrent writes of overlapping ranges");
  }
  content->writing.push_back(range);
  disk.under_way_.push_back({content, offset, std::move(data)});
  const auto write = std::prev(disk.under_way_.end());

  const DiskModel& model = life.engine.plan.disk;
  Duration latency = disk.latency(model.write_latency, life);
  if (durable) latency = latency + disk.latency(model.sync_latency, life);
  disk.change_begins(latency);
  const Status status =
      perform_status(life, durable ? "durable disk write" : "disk write", latency,
                     [this, self = shared_from_this(), write, durable, range]() -> Status {
                       VARVE_TRY(complete_write(write));
                       if (!durable) return Status();
                       return finish_sync(content->begin_sync(range.first, range.second));
                     });
  if (status.is(Code::kCancelled) || status.is(Code::kDeadlineExceeded))
    content->abandoned_write = true;
  return status;
}

Status OpenFile::sync() {
  VARVE_TRY(check_cancelled());
  return perform_status(life, "disk sync",
                        disk.change_begins(disk.latency(life.engine.plan.disk.sync_latency, life)),
                        [this, self = shared_from_this(), snapshot = content->begin_sync()] {
                          return finish_sync(snapshot);
                        });
}

Status OpenFile::truncate(uint64_t size) {
  VARVE_TRY(check_writable());
  return perform_status(life, "truncate", disk.latency(life.engine.plan.disk.write_latency, life),
                        [this, self = shared_from_this(), size] {
                          content->truncate(size);
                          life.engine.record(&life, EventKind::kWrite, hash_label(path), size);
                          return Status();
                        });
}

Status OpenFile::punch(uint64_t offset, uint64_t length) {
  VARVE_TRY(check_writable());
  return perform_status(life, "punch", disk.latency(life.engine.plan.disk.write_latency, life),
                        [this, self = shared_from_this(), offset, length] {
                          content->punch(offset, length);
                          life.engine.record(&life, EventKind::kWrite, hash_label(path), length);
                          return Status();
                        });
}

// --- Names ---

Result<std::unique_ptr<File>> LifeDisk::open(std::string_view path, OpenMode mode) {
  return perform<std::unique_ptr<File>>(
      life_, "open", disk_.latency(life_.engine.plan.disk.write_latency, life_),
      [this, path = std::string(path), mode]() -> Result<std::unique_ptr<File>> {
        VARVE_TRY_ASSIGN(auto content, disk_.image_.open(path, mode));
        life_.engine.record(&life_, EventKind::kName, hash_label(path), content->size());
        return std::unique_ptr<File>(new LifeFile(std::make_shared<OpenFile>(
            disk_, life_, std::move(content), path, mode != OpenMode::kRead)));
      });
}

Status LifeDisk::name_call(std::string_view path, std::function<Status(DiskImage&)> change) {
  return perform_status(life_, "change of a name",
                        disk_.latency(life_.engine.plan.disk.write_latency, life_),
                        [this, path = std::string(path), change = std::move(change)] {
                          Status status = change(disk_.image_);
                          life_.engine.record(&life_, EventKind::kName, hash_label(path),
                                              static_cast<uint64_t>(status.code()));
                          return status;
                        });
}

Result<std::vector<DirectoryEntry>> LifeDisk::list(std::string_view path) {
  return perform<std::vector<DirectoryEntry>>(
      life_, "list", disk_.latency(life_.engine.plan.disk.read_latency, life_),
      [this, path = std::string(path)] { return disk_.image_.list(path); });
}

Status LifeDisk::sync_directory(std::string_view path) {
  return perform_status(
      life_, "directory sync",
      disk_.change_begins(disk_.latency(life_.engine.plan.disk.sync_latency, life_)),
      [this, path = std::string(path)]() -> Status {
        Engine& engine = life_.engine;
        if (disk_.random_.chance(engine.plan.disk.sync_error_rate)) {
          engine.fault(FaultKind::kSyncError, &life_);
          engine.end_life(life_, false);
          return Status(Code::kInternal, "the disk could not sync").with_object(path);
        }
        engine.record(&life_, EventKind::kSync, hash_label(path));
        return disk_.image_.sync_directory(path);
      });
}

Status LifeDisk::sync_all() {
  return perform_status(
      life_, "sync of the disk",
      disk_.change_begins(disk_.latency(life_.engine.plan.disk.sync_latency, life_)), [this] {
        disk_.image_.sync_names();
        disk_.image_.for_each_file(
            [](const std::string&, FileContent& file) { file.finish_sync(file.begin_sync()); });
        life_.engine.record(&life_, EventKind::kSync, 0);
        return Status();
      });
}

Result<DiskSpace> LifeDisk::space() {
  const uint64_t capacity = life_.engine.plan.disk.capacity;
  const bool filled = disk_.full_until_ > life_.engine.now();
  const uint64_t used = filled ? capacity : std::min(capacity, disk_.image_.allocated());
  return DiskSpace{capacity, capacity - used};
}

}  // namespace varve::sim
