#include "consensus/safekeeper/segment_log.h"

#include <algorithm>

#include "wal/page.h"

namespace varve::consensus {
namespace {

// Written at once when a segment is made. Not more: Linux caches what was written in one piece as
// one unit, and each commit's sync then looks through all of it.
constexpr size_t kZeroChunk = 64 << 10;
constexpr uint64_t kZerosPerSync = 1 << 20;
constexpr size_t kOpenFiles = 4;
constexpr const char* kTemporary = "segment.tmp";

constexpr uint64_t kMuch = 256 << 10;

// Zeros for `length` bytes that share one buffer.
std::vector<Bytes> zeros(uint64_t length) {
  std::vector<Bytes> pieces;
  if (length == 0) return pieces;
  const Bytes chunk = MutableBytes::zeroed(std::min<uint64_t>(length, kZeroChunk)).freeze();
  for (; length > chunk.size(); length -= chunk.size()) pieces.push_back(chunk);
  pieces.push_back(chunk.slice(0, length));
  return pieces;
}

// Makes zeros of what may be there: a little by writing them, much by giving the blocks back. The
// rest of a segment is much, and whoever waits for an election waits for it.
Status write_zeros(File& file, uint64_t offset, uint64_t length) {
  return length >= kMuch ? file.punch(offset, length) : file.write(offset, zeros(length));
}

}  // namespace

SegmentLog::SegmentLog(Disk& disk, std::string directory, uint32_t segment_size)
    : disk_(disk), directory_(std::move(directory)), segment_size_(segment_size) {
  VARVE_CHECK(wal::valid_segment_size(segment_size));
}

std::string SegmentLog::path_of(uint64_t segment) const {
  return directory_ + "/" + wal::segment_file_name({1, segment}, segment_size_);
}

Lsn SegmentLog::oldest() const {
  return segments_.empty() ? Lsn() : Lsn(*segments_.begin() * segment_size_);
}

Lsn SegmentLog::newest_end() const {
  return segments_.empty() ? Lsn() : Lsn((*segments_.rbegin() + 1) * segment_size_);
}

Status SegmentLog::create(Lsn start, Bytes prefix) {
  VARVE_CHECK(prefix.size() <= start.segment_offset(segment_size_));
  const uint64_t segment = start.segment(segment_size_);
  VARVE_TRY_ASSIGN(const auto file, disk_.open(path_of(segment), OpenMode::kCreateNew));
  VARVE_TRY(file->truncate(segment_size_));
  if (!prefix.empty()) VARVE_TRY(file->write(0, {std::move(prefix)}));
  VARVE_TRY(file->sync());
  segments_.insert(segment);
  return Status();
}

Status SegmentLog::open() {
  VARVE_TRY_ASSIGN(const auto entries, disk_.list(directory_));
  for (const DirectoryEntry& entry : entries) {
    if (entry.name == kTemporary) {
      VARVE_TRY(disk_.remove(directory_ + "/" + entry.name));
      continue;
    }
    const auto name = wal::parse_segment_file_name(entry.name, segment_size_);
    if (!name || entry.is_directory) continue;
    if (name->timeline != 1 || entry.size != segment_size_) {
      return Status(Code::kCorrupt, "WAL segment has " + std::to_string(entry.size) +
                                        " bytes instead of " + std::to_string(segment_size_))
          .with_object(directory_ + "/" + entry.name)
          .with_hint("restore it from another member or remove the timeline from this safekeeper");
    }
    segments_.insert(name->number);
  }
  zero_from_ = newest_end();
  return Status();
}

// Zero-filled and synced under a temporary name first: a segment that has its name is whole. In
// pieces, synced every now and then, so that a commit never queues behind all of it.
Status SegmentLog::make_segment(uint64_t segment) {
  const std::string temporary = directory_ + "/" + kTemporary;
  VARVE_TRY_ASSIGN(auto file, disk_.open(temporary, OpenMode::kCreate));
  VARVE_TRY(file->truncate(0));
  VARVE_TRY(file->truncate(segment_size_));
  for (uint64_t offset = 0; offset < segment_size_; offset += kZeroChunk) {
    VARVE_TRY(file->write(offset, zeros(kZeroChunk)));
    if ((offset + kZeroChunk) % kZerosPerSync == 0) VARVE_TRY(file->sync());
  }
  file.reset();
  VARVE_TRY(disk_.rename(temporary, path_of(segment)));
  VARVE_TRY(disk_.sync_directory(directory_));
  segments_.insert(segment);
  return Status();
}

Status SegmentLog::prepare(uint64_t segment) {
  MutexGuard guard(making_, "making a WAL segment");
  VARVE_TRY(guard.status());
  // In order: a disk that is full in the middle must not leave a hole that a later start would
  // meet.
  const auto behind = segments_.upper_bound(segment);
  const uint64_t last = behind == segments_.begin() ? segment : *std::prev(behind) + 1;
  for (uint64_t missing = last; missing <= segment; ++missing) {
    VARVE_TRY(make_segment(missing));
  }
  return Status();
}

Lsn SegmentLog::end_of_run(Lsn from) const {
  uint64_t segment = from.segment(segment_size_);
  while (segments_.contains(segment)) ++segment;
  return Lsn(segment * segment_size_);
}

Result<std::shared_ptr<File>> SegmentLog::file_of(uint64_t segment) {
  const auto found = open_.find(segment);
  if (found != open_.end()) return found->second;
  if (!segments_.contains(segment)) {
    return Status(Code::kNotFound, "WAL segment is not on this safekeeper")
        .with_object(path_of(segment))
        .with_lsn(Lsn(segment * segment_size_));
  }
  VARVE_TRY_ASSIGN(auto opened, disk_.open(path_of(segment), OpenMode::kReadWrite));
  // Another fiber may have been faster.
  auto& slot = open_[segment];
  if (slot == nullptr) slot = std::move(opened);
  const std::shared_ptr<File> file = slot;
  while (open_.size() > kOpenFiles) {
    // Dirty ones stay: closing would not lose them, but sync() wants their handle.
    auto oldest = std::find_if(open_.begin(), open_.end(), [&](const auto& entry) {
      return entry.first != segment && !dirty_.contains(entry.first);
    });
    if (oldest == open_.end()) break;
    open_.erase(oldest);
  }
  return file;
}

Status SegmentLog::write(Lsn begin, std::vector<Bytes> data, bool durable) {
  size_t piece = 0;
  while (piece < data.size()) {
    const uint64_t segment = begin.segment(segment_size_);
    const uint64_t offset = begin.segment_offset(segment_size_);
    uint64_t room = segment_size_ - offset;
    std::vector<Bytes> part;
    uint64_t length = 0;
    while (piece < data.size() && room > 0) {
      Bytes& bytes = data[piece];
      if (bytes.size() <= room) {
        part.push_back(std::move(bytes));
        ++piece;
      } else {
        part.push_back(bytes.slice(0, room));
        bytes = bytes.slice(room);
      }
      room -= part.back().size();
      length += part.back().size();
    }
    if (!segments_.contains(segment)) VARVE_TRY(prepare(segment));
    VARVE_TRY_ASSIGN(const auto file, file_of(segment));
    // Earlier bytes of this segment that are not durable yet would stay so: then write, and sync
    // all.
    const bool direct = durable && !dirty_.contains(segment);
    if (!direct) dirty_.insert(segment);
    VARVE_TRY(direct ? file->write_durable(offset, std::move(part))
                     : file->write(offset, std::move(part)));
    begin = begin + length;
    zero_from_ = std::max(zero_from_, begin);
  }
  return durable ? sync() : Status();
}

Status SegmentLog::sync() {
  while (!dirty_.empty()) {
    const uint64_t segment = *dirty_.begin();
    VARVE_TRY_ASSIGN(const auto file, file_of(segment));
    VARVE_TRY(file->sync());
    dirty_.erase(segment);
  }
  return Status();
}

Status SegmentLog::write_in_front(Lsn begin, Bytes data) {
  VARVE_CHECK(begin.segment_offset(segment_size_) + data.size() <= segment_size_);
  VARVE_TRY_ASSIGN(const auto file, file_of(begin.segment(segment_size_)));
  return file->write_durable(begin.segment_offset(segment_size_), {std::move(data)});
}

Status SegmentLog::sync_from(Lsn from) {
  dirty_.insert(segments_.lower_bound(from.segment(segment_size_)), segments_.end());
  return sync();
}

Status SegmentLog::truncate(Lsn at) {
  MutexGuard guard(making_, "cutting the log");
  VARVE_TRY(guard.status());
  const uint64_t segment = at.segment(segment_size_);
  // The newest first, so that a crash leaves no gap in front of a segment with old bytes.
  while (!segments_.empty() && *segments_.rbegin() > segment) {
    const uint64_t last = *segments_.rbegin();
    open_.erase(last);
    dirty_.erase(last);
    VARVE_TRY(disk_.remove(path_of(last)));
    segments_.erase(last);
  }
  if (segments_.contains(segment)) {
    VARVE_TRY_ASSIGN(const auto file, file_of(segment));
    const Lsn end = std::min(zero_from_, Lsn((segment + 1) * segment_size_));
    dirty_.insert(segment);
    if (end > at) VARVE_TRY(write_zeros(*file, at.segment_offset(segment_size_), end - at));
    VARVE_TRY(sync());
  }
  zero_from_ = at;
  return disk_.sync_directory(directory_);
}

Result<std::vector<Bytes>> SegmentLog::read(Lsn begin, uint64_t length) {
  std::vector<Bytes> pieces;
  while (length > 0) {
    const uint64_t segment = begin.segment(segment_size_);
    const uint64_t offset = begin.segment_offset(segment_size_);
    const uint64_t part = std::min<uint64_t>(length, segment_size_ - offset);
    VARVE_TRY_ASSIGN(const auto file, file_of(segment));
    VARVE_TRY_ASSIGN(Bytes bytes, file->read_at(offset, part));
    if (bytes.size() != part) {
      return Status(Code::kCorrupt, "WAL segment is shorter than it was")
          .with_object(path_of(segment))
          .with_lsn(begin);
    }
    pieces.push_back(std::move(bytes));
    begin = begin + part;
    length -= part;
  }
  return pieces;
}

Status SegmentLog::remove_below(Lsn horizon) {
  while (segments_.size() > 1 && (*segments_.begin() + 1) * segment_size_ <= horizon.value) {
    const uint64_t first = *segments_.begin();
    VARVE_TRY(disk_.remove(path_of(first)));
    segments_.erase(first);
    open_.erase(first);
  }
  return Status();
}

}  // namespace varve::consensus
