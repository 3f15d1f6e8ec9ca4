// waldecode: reads a stock server's log files with our decoder and counts what is in them.
//
//   waldecode --stats [--repeat N] [--start SEGMENT] DIR | FILE...
//
// DIR is a pg_wal directory: all segments from the first (or SEGMENT) to the end of the log. Prints
// a line a record type, "name count record-bytes image-bytes", sorted as pg_waldump --stats=record
// sorts them, then "total" and "end"; with
// --repeat also how fast the last pass was. The log ends where a stock server's recovery would
// stop: at zeros or at the first thing that is no record. Exit code 0, 1 when a file can't be read,
// 2 for usage.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "wal/decoder.h"
#include "wal/record_names.h"

namespace {

using namespace varve;       // NOLINT: a main file
using namespace varve::wal;  // NOLINT

// A log file in memory; the kernel reads it ahead.
class MappedFile {
 public:
  explicit MappedFile(const std::string& path) {
    const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
    struct stat info {};
    if (fd < 0 || fstat(fd, &info) != 0) {
      std::perror(path.c_str());
      std::exit(1);
    }
    size_ = static_cast<size_t>(info.st_size);
    if (size_ > 0) {
      data_ = mmap(nullptr, size_, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0);
      if (data_ == MAP_FAILED) {
        std::perror(path.c_str());
        std::exit(1);
      }
    }
    close(fd);
  }
  ~MappedFile() {
    if (size_ > 0) munmap(data_, size_);
  }
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  std::span<const uint8_t> bytes() const { return {static_cast<const uint8_t*>(data_), size_}; }

 private:
  void* data_ = nullptr;
  size_t size_ = 0;
};

struct Counter {
  uint64_t records = 0;
  uint64_t record_bytes = 0;
  uint64_t image_bytes = 0;
};

struct Statistics {
  std::array<std::array<Counter, 16>, 256> by_type;
  uint64_t records = 0;
  uint64_t bytes = 0;
  Lsn first;
  Lsn end;
  std::string stop;

  void count(const Record& record) {
    uint8_t operation = record.info >> 4;
    if (record.is(Rmgr::kTransaction)) operation &= 7;
    Counter& counter = by_type[record.rmid][operation];
    uint64_t images = 0;
    for (const BlockReference& block : record.blocks) {
      if (block.image.has_value()) images += block.image->bytes.size();
    }
    ++counter.records;
    counter.record_bytes += record.total_length - images;
    counter.image_bytes += images;
    ++records;
    bytes += record.total_length;
  }
};

struct Arguments {
  std::vector<std::string> files;
  int repeat = 1;
};

[[noreturn]] void usage() {
  std::fputs("usage: waldecode --stats [--repeat N] [--start SEGMENT] DIR | FILE...\n", stderr);
  std::exit(2);
}

bool is_segment_name(const std::string& name) {
  return name.size() == 24 && name.find_first_not_of("0123456789ABCDEF") == std::string::npos;
}

Arguments parse(int argc, char** argv) {
  Arguments arguments;
  std::vector<std::string> paths;
  std::string start;
  bool stats = false;
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    if (argument == "--stats") {
      stats = true;
    } else if (argument == "--repeat" && i + 1 < argc) {
      arguments.repeat = std::max(1, std::atoi(argv[++i]));
    } else if (argument == "--start" && i + 1 < argc) {
      start = argv[++i];
    } else if (argument.starts_with("-")) {
      usage();
    } else {
      paths.emplace_back(argument);
    }
  }
  if (!stats || paths.empty()) usage();
  for (const std::string& path : paths) {
    if (!std::filesystem::is_directory(path)) {
      arguments.files.push_back(path);
      continue;
    }
    for (const auto& entry : std::filesystem::directory_iterator(path)) {
      const std::string name = entry.path().filename();
      if (is_segment_name(name) && name >= start) arguments.files.push_back(entry.path());
    }
  }
  std::sort(arguments.files.begin(), arguments.files.end());
  if (arguments.files.empty()) usage();
  return arguments;
}

void run(const std::vector<std::unique_ptr<MappedFile>>& files, Statistics& statistics) {
  const Result<LogIdentity> identity = identity_of_segment(files.front()->bytes());
  if (!identity.ok()) {
    std::fprintf(stderr, "waldecode: %s\n", identity.status().to_string().c_str());
    std::exit(1);
  }
  Decoder decoder({*identity, Depth::kFull, TimelineRule::kNonDecreasing});
  decoder.reset_to_page(read_page_header(files.front()->bytes())->address);
  Record record;
  for (const auto& file : files) {
    decoder.feed(decoder.fed_to(), file->bytes());
    Step step = decoder.next(record);
    for (; step == Step::kRecord; step = decoder.next(record)) {
      if (!statistics.first.valid()) statistics.first = record.start;
      statistics.count(record);
    }
    if (step == Step::kNeedMore) continue;
    statistics.stop =
        step == Step::kCorrupt ? decoder.status().to_string() : std::string("end of the log");
    break;
  }
  statistics.end = decoder.boundary();
}

void print(const LogIdentity& identity, const Statistics& statistics) {
  for (size_t rmid = 0; rmid < 256; ++rmid) {
    for (size_t operation = 0; operation < 16; ++operation) {
      const Counter& counter = statistics.by_type[rmid][operation];
      if (counter.records == 0) continue;
      std::printf("%s %lu %lu %lu\n",
                  record_name(*identity.version, static_cast<uint8_t>(rmid),
                              static_cast<uint8_t>(operation << 4))
                      .c_str(),
                  counter.records, counter.record_bytes, counter.image_bytes);
    }
  }
  std::printf("total %lu %lu\n", statistics.records, statistics.bytes);
  std::printf("range %s %s\n", statistics.first.to_string().c_str(),
              statistics.end.to_string().c_str());
  if (!statistics.stop.empty()) std::printf("stop %s\n", statistics.stop.c_str());
}

}  // namespace

int main(int argc, char** argv) {
  const Arguments arguments = parse(argc, argv);
  std::vector<std::unique_ptr<MappedFile>> files;
  for (const std::string& path : arguments.files)
    files.push_back(std::make_unique<MappedFile>(path));
  auto statistics = std::make_unique<Statistics>();
  double seconds = 0;
  for (int i = 0; i < arguments.repeat; ++i) {
    *statistics = {};
    const auto begin = std::chrono::steady_clock::now();
    run(files, *statistics);
    seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  }
  print(*identity_of_segment(files.front()->bytes()), *statistics);
  if (arguments.repeat > 1) {
    const auto bytes = static_cast<double>(statistics->end - statistics->first);
    std::printf("speed %.3f s, %.2f GB/s, %.1f ns a record\n", seconds, bytes / seconds / 1e9,
                seconds * 1e9 / static_cast<double>(statistics->records));
  }
  return 0;
}
