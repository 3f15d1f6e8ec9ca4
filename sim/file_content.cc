#include <algorithm>

#include "base/check.h"
#include "sim/disk_image.h"

namespace varve::sim {
namespace {

constexpr size_t kSectorsPerPage = kPageBytes / kSectorBytes;

uint64_t pages_for(uint64_t size) {
  return (size + kPageBytes - 1) / kPageBytes;
}

PagePointer zero_page() {
  return std::make_shared<Page>();
}  // value-initialised: all zeros

const uint8_t* page_bytes(const std::vector<PagePointer>& pages, uint64_t page) {
  static constexpr Page kZeros{};
  return page < pages.size() && pages[page] != nullptr ? pages[page]->bytes : kZeros.bytes;
}

}  // namespace

uint64_t FileContent::growth(uint64_t offset, uint64_t length) const {
  uint64_t pages = 0;
  for (uint64_t page = offset / kPageBytes; page < pages_for(offset + length); ++page) {
    if (page >= current_.size() || current_[page] == nullptr) ++pages;
  }
  return pages * kPageBytes;
}

Bytes FileContent::read(uint64_t offset, size_t length) const {
  if (offset >= size_) return Bytes();
  length = std::min<uint64_t>(length, size_ - offset);
  MutableBytes result(length);
  for (size_t done = 0; done < length;) {
    const uint64_t at = offset + done;
    const size_t piece = std::min<size_t>(length - done, kPageBytes - at % kPageBytes);
    std::memcpy(result.data() + done, page_bytes(current_, at / kPageBytes) + at % kPageBytes,
                piece);
    done += piece;
  }
  return std::move(result).freeze();
}

Page& FileContent::writable(uint64_t page) {
  if (page >= current_.size()) current_.resize(page + 1);
  PagePointer& pointer = current_[page];
  if (pointer == nullptr) {
    pointer = zero_page();
    ++allocated_pages_;
  } else if (pointer.use_count() > 1) {
    pointer = std::make_shared<Page>(*pointer);
  }
  return *pointer;
}

void FileContent::mark_dirty(uint64_t offset, uint64_t end) {
  for (uint64_t sector = offset / kSectorBytes; sector * kSectorBytes < end; ++sector) {
    dirty_[sector / kSectorsPerPage] |= static_cast<uint8_t>(1u << sector % kSectorsPerPage);
  }
}

void FileContent::write(uint64_t offset, std::span<const uint8_t> data) {
  for (size_t done = 0; done < data.size();) {
    const uint64_t at = offset + done;
    const size_t piece = std::min<size_t>(data.size() - done, kPageBytes - at % kPageBytes);
    std::memcpy(writable(at / kPageBytes).bytes + at % kPageBytes, data.data() + done, piece);
    done += piece;
  }
  mark_dirty(offset, offset + data.size());
  if (!data.empty()) size_ = std::max(size_, offset + data.size());
}

void FileContent::punch(uint64_t offset, uint64_t length) {
  const uint64_t end = std::min(offset + length, size_);
  for (uint64_t at = offset; at < end;) {
    const uint64_t page = at / kPageBytes;
    const uint64_t stop = std::min<uint64_t>(end, (page + 1) * kPageBytes);
    if (page < current_.size() && current_[page] != nullptr) {
      if (stop - at == kPageBytes) {
        current_[page] = nullptr;
        --allocated_pages_;
      } else {
        std::memset(writable(page).bytes + at % kPageBytes, 0, stop - at);
      }
    }
    at = stop;
  }
  if (offset < end) mark_dirty(offset, end);
}

void FileContent::truncate(uint64_t size) {
  if (size < size_) {
    punch(size, size_ - size);
    for (uint64_t page = pages_for(size); page < current_.size(); ++page) {
      if (current_[page] != nullptr) --allocated_pages_;
    }
    current_.resize(std::min<uint64_t>(current_.size(), pages_for(size)));
  }
  size_ = size;
}

SyncSnapshot FileContent::begin_sync(uint64_t offset, uint64_t end) {
  SyncSnapshot snapshot;
  snapshot.number = ++syncs_begun_;
  snapshot.size = size_;
  for (auto it = dirty_.lower_bound(offset / kPageBytes); it != dirty_.end(); ++it) {
    const auto& [page, sectors] = *it;
    uint8_t inside = sectors;
    for (size_t sector = 0; sector < kSectorsPerPage; ++sector) {
      const uint64_t start = page * kPageBytes + sector * kSectorBytes;
      if (start >= end || start + kSectorBytes <= offset)
        inside &= static_cast<uint8_t>(~(1u << sector));
    }
    if (page * kPageBytes >= end) break;
    if (inside != 0) {
      snapshot.parts.push_back({page, inside, page < current_.size() ? current_[page] : nullptr});
    }
  }
  return snapshot;
}

// A later sync has ended before this one, so what this one saw may be older than what is durable.
// What of its sectors is clean by now is durable in a newer version; what is still dirty gets the
// content of now, since the kernel may write back whatever is newest.
void FileContent::finish_late_sync(const SyncSnapshot& snapshot) {
  for (const SyncSnapshot::Part& part : snapshot.parts) {
    const auto found = dirty_.find(part.page);
    if (found == dirty_.end()) continue;
    const auto sectors = static_cast<uint8_t>(found->second & part.sectors);
    if (part.page >= durable_.size()) durable_.resize(part.page + 1);
    auto merged = std::make_shared<Page>();
    std::memcpy(merged->bytes, page_bytes(durable_, part.page), kPageBytes);
    for (size_t sector = 0; sector < kSectorsPerPage; ++sector) {
      if ((sectors >> sector & 1) == 0) continue;
      const size_t at = sector * kSectorBytes;
      std::memcpy(merged->bytes + at, page_bytes(current_, part.page) + at, kSectorBytes);
    }
    durable_[part.page] = std::move(merged);
    found->second &= static_cast<uint8_t>(~sectors);
    if (found->second == 0) dirty_.erase(found);
  }
}

void FileContent::finish_sync(const SyncSnapshot& snapshot) {
  if (snapshot.number < newest_sync_finished_) return finish_late_sync(snapshot);
  newest_sync_finished_ = snapshot.number;
  for (const SyncSnapshot::Part& part : snapshot.parts) {
    const PagePointer now = part.page < current_.size() ? current_[part.page] : nullptr;
    if (part.page >= durable_.size()) durable_.resize(part.page + 1);
    const auto found = dirty_.find(part.page);
    if (now == part.content && (found == dirty_.end() || found->second == part.sectors)) {
      durable_[part.page] = now;  // nothing was written meanwhile: share the page
      if (found != dirty_.end()) dirty_.erase(found);
      continue;
    }
    auto merged = std::make_shared<Page>();
    std::memcpy(merged->bytes, page_bytes(durable_, part.page), kPageBytes);
    for (size_t sector = 0; sector < kSectorsPerPage; ++sector) {
      if ((part.sectors >> sector & 1) == 0) continue;
      const size_t at = sector * kSectorBytes;
      if (part.content == nullptr) {
        std::memset(merged->bytes + at, 0, kSectorBytes);
      } else {
        std::memcpy(merged->bytes + at, part.content->bytes + at, kSectorBytes);
      }
    }
    durable_[part.page] = std::move(merged);
    if (now == part.content && found != dirty_.end()) {
      found->second &=
          static_cast<uint8_t>(~part.sectors);  // never empty here: that case shared the page
    }  // else: what was written meanwhile stays dirty, and with it what was just synced, which
       // costs nothing
  }
  durable_size_ = snapshot.size;
}

FileContent::Damage FileContent::power_cut(uint32_t keep_rate, uint32_t tear_rate,
                                           RandomStream& random) {
  Damage damage;
  const auto dirty = std::exchange(dirty_, {});
  for (const auto& [page, sectors] : dirty) {
    const uint8_t* fresh = page_bytes(current_, page);
    auto merged = std::make_shared<Page>();
    std::memcpy(merged->bytes, page_bytes(durable_, page), kPageBytes);
    for (size_t sector = 0; sector < kSectorsPerPage; ++sector) {
      if ((sectors >> sector & 1) == 0) continue;
      const size_t at = sector * kSectorBytes;
      const bool differs = std::memcmp(merged->bytes + at, fresh + at, kSectorBytes) != 0;
      if (!random.chance(keep_rate)) {
        damage.lost |= differs;
        continue;
      }
      const bool torn = random.chance(tear_rate);
      const size_t length = torn ? random.below(kSectorBytes) : kSectorBytes;
      std::memcpy(merged->bytes + at, fresh + at, length);
      damage.torn |= torn && differs;
    }
    if (page >= durable_.size()) durable_.resize(page + 1);
    durable_[page] = std::move(merged);
  }
  if (size_ != durable_size_) {
    const uint64_t low = std::min(size_, durable_size_);
    const uint64_t high = std::max(size_, durable_size_);
    switch (random.below(3)) {
      case 0:
        break;
      case 1:
        durable_size_ = size_;
        break;
      default:
        durable_size_ = random.between(low, high);
        break;
    }
    damage.lost |= durable_size_ != size_;
  }
  // Beyond its end a file holds nothing, whatever the platters do.
  current_ = durable_;
  size_ = std::max(durable_size_, current_.size() * uint64_t{kPageBytes});
  allocated_pages_ = static_cast<uint64_t>(std::count_if(
      current_.begin(), current_.end(), [](const auto& page) { return page != nullptr; }));
  truncate(durable_size_);
  dirty_.clear();
  durable_ = current_;
  return damage;
}

void FileContent::fail_sync(RandomStream& random) {
  (void)power_cut(500000, 0, random);
}

bool FileContent::rot(uint64_t offset, RandomStream& random) {
  VARVE_CHECK(offset < size_);
  const uint64_t page = offset / kPageBytes;
  if (page >= current_.size() || current_[page] == nullptr) return false;
  const auto mask = static_cast<uint8_t>(1u << random.below(8));
  const bool shared = page < durable_.size() && durable_[page] == current_[page];
  writable(page).bytes[offset % kPageBytes] ^= mask;
  if (shared) durable_[page] = current_[page];
  return true;
}

}  // namespace varve::sim
