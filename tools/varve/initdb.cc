#include "tools/varve/initdb.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <optional>
#include <set>
#include <string_view>
#include <vector>

#include "real_io/postgres/files.h"
#include "real_io/postgres/launch.h"
#include "real_io/postgres/place.h"
#include "storage/client/methods.h"
#include "tools/varve/files.h"

namespace varve::tool {
namespace {

using real_io::PostgresUser;
using real_io::Syscalls;
using real_io::ThreadPool;

// Versions whose files and log Varve reads (wal/version.h).
constexpr uint32_t kFirstMajor = 14;
constexpr uint32_t kLastMajor = 18;

// Scratch directories are called so, with an id behind it.
constexpr std::string_view kScratch = "initdb-";

std::string binary(const InitdbOptions& options, uint32_t major, const std::string& program) {
  std::string path = options.binaries;
  const size_t at = path.find('%');
  if (at != std::string::npos) path.replace(at, 1, std::to_string(major));
  return path + "/" + program;
}

Status not_installed(uint32_t major) {
  const std::string number = major == 0 ? "15" : std::to_string(major);
  return Status(Code::kUnsupported, major == 0 ? "no Postgres from 14 to 18 is installed"
                                               : "Postgres " + number + " is not installed")
      .with_hint("apt-get install postgresql-" + number);
}

// The output of `postgres --version`, "postgres (PostgreSQL) 15.8 (Debian ...)", as 150008.
Result<uint32_t> parse_version(const std::string& text, const std::string& object) {
  const size_t at = text.find("(PostgreSQL) ");
  if (at != std::string::npos) {
    const char* begin = text.data() + at + 13;
    const char* const end = text.data() + text.size();
    uint32_t major = 0;
    uint32_t minor = 0;
    const auto first = std::from_chars(begin, end, major);
    if (first.ec == std::errc{}) {
      if (first.ptr != end && *first.ptr == '.') (void)std::from_chars(first.ptr + 1, end, minor);
      return major * 10000 + minor;
    }
  }
  return Status(Code::kUnsupported, "this Postgres does not tell its version: " + text)
      .with_object(object);
}

// Blocks.
Result<uint32_t> ask_version(const InitdbOptions& options, uint32_t major) {
  const std::string program = binary(options, major, "postgres");
  if (!exists(program) || !exists(binary(options, major, "initdb"))) return not_installed(major);
  std::FILE* const output = ::popen(("'" + program + "' --version").c_str(), "re");
  if (output == nullptr) return os_error("cannot run", program);
  std::array<char, 256> line{};
  const size_t length = std::fread(line.data(), 1, line.size(), output);
  (void)::pclose(output);
  VARVE_TRY_ASSIGN(const uint32_t version,
                   parse_version(std::string(line.data(), length), program));
  if (version / 10000 != major) {
    return Status(Code::kUnsupported, "is Postgres " + std::to_string(version / 10000))
        .with_object(program);
  }
  return version;
}

Result<uint32_t> find_version(const InitdbOptions& options, uint32_t major) {
  if (major != 0) return ask_version(options, major);
  for (uint32_t newest = kLastMajor; newest >= kFirstMajor; --newest) {
    Result<uint32_t> version = ask_version(options, newest);
    if (version.ok()) return version;
  }
  return not_installed(0);
}

// A directory for one cluster, with what is below it.
class Scratch {
 public:
  Scratch(ThreadPool& threads, std::string path) : threads_(threads), path_(std::move(path)) {}
  ~Scratch() {
    const Shield shield;
    run_on(threads_, "remove a scratch cluster", [path = path_](Syscalls&) {
      return real_io::remove_tree(path);
    }).ignore("the next life of control removes it");
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  const std::string& path() const { return path_; }
  std::string data() const { return path_ + "/data"; }

 private:
  ThreadPool& threads_;
  std::string path_;
};

struct PlainFile {
  std::string path;  // relative
  uint64_t size = 0;
};

// Blocks.
Status list_files(const std::string& root, const std::string& below,
                  std::vector<PlainFile>& files) {
  const std::string directory = below.empty() ? root : root + "/" + below;
  DIR* const open = ::opendir(directory.c_str());
  if (open == nullptr) return os_error("cannot list", directory);
  std::vector<std::string> names;
  while (const dirent* entry = ::readdir(open)) {
    const std::string name = entry->d_name;
    if (name != "." && name != "..") names.push_back(name);
  }
  (void)::closedir(open);
  std::sort(names.begin(), names.end());
  for (const std::string& name : names) {
    const std::string path = below.empty() ? name : below + "/" + name;
    struct stat about;
    if (::lstat((root + "/" + path).c_str(), &about) != 0) return os_error("cannot look at", path);
    if (S_ISDIR(about.st_mode)) {
      VARVE_TRY(list_files(root, path, files));
    } else if (S_ISREG(about.st_mode)) {
      files.push_back({path, static_cast<uint64_t>(about.st_size)});
    } else {
      return Status(Code::kRefused, "a new cluster has no such files").with_object(path);
    }
  }
  return Status();
}

// Blocks. Raw memory, since Bytes belong to the loop's thread.
Result<std::string> read_piece(const std::string& path, uint64_t offset, size_t length) {
  const real_io::UniqueFd file(real_io::kernel(),
                               ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  if (!file.valid()) return os_error("cannot open", path);
  std::string piece(length, '\0');
  const int64_t got = real_io::read_all(
      file.get(), {reinterpret_cast<uint8_t*>(piece.data()), piece.size()}, offset);
  if (got != static_cast<int64_t>(length)) {
    return Status(Code::kCorrupt, "changed while it was read").with_object(path);
  }
  return piece;
}

class ClusterFiles final : public storage::FileSource {
 public:
  ClusterFiles(ThreadPool& threads, std::unique_ptr<Scratch> scratch, std::vector<PlainFile> files)
      : threads_(threads), scratch_(std::move(scratch)), files_(std::move(files)) {}

  Result<std::optional<storage::FilePiece>> next() override {
    if (at_ == files_.size()) return std::optional<storage::FilePiece>();
    const PlainFile& file = files_[at_];
    const size_t length =
        static_cast<size_t>(std::min<uint64_t>(storage::kStreamPieceBytes, file.size - offset_));
    storage::FilePiece piece;
    piece.path = file.path;
    piece.offset = offset_;
    if (length != 0) {
      VARVE_TRY_ASSIGN(const std::string bytes,
                       run_on(threads_, "read a cluster's file",
                              [path = scratch_->data() + "/" + file.path, offset = offset_,
                               length](Syscalls&) { return read_piece(path, offset, length); }));
      piece.bytes = Bytes::copy(bytes);
    }
    offset_ += length;
    if (offset_ == file.size) {
      ++at_;
      offset_ = 0;
    }
    return std::optional(std::move(piece));
  }

 private:
  ThreadPool& threads_;
  std::unique_ptr<Scratch> scratch_;
  std::vector<PlainFile> files_;
  size_t at_ = 0;
  uint64_t offset_ = 0;
};

struct Place {
  PostgresUser user;
  std::string path;
  std::string moved_because;
  Status cleaned;  // of what earlier lives have left
};

// What lives of control that were killed have left, but not `own`. Blocks.
Status remove_leftovers(const std::string& directory, const std::set<std::string>& own) {
  DIR* const open = ::opendir(directory.c_str());
  if (open == nullptr) return os_error("cannot list", directory);
  std::vector<std::string> leftovers;
  while (const dirent* entry = ::readdir(open)) {
    const std::string name = entry->d_name;
    if (name.starts_with(kScratch) && !own.contains(name))
      leftovers.push_back(directory + "/" + name);
  }
  (void)::closedir(open);
  for (const std::string& path : leftovers) VARVE_TRY(real_io::remove_tree(path));
  return Status();
}

// Blocks. `name` is unique. All scratch clusters but `own` are removed, if that is given.
Result<Place> prepare_place(const std::string& wanted, const std::string& name,
                            const std::optional<std::set<std::string>>& own) {
  Place place;
  VARVE_TRY_ASSIGN(place.user, real_io::choose_postgres_user(""));
  VARVE_TRY_ASSIGN(const real_io::PostgresPlace chosen, real_io::choose_place(wanted, place.user));
  place.moved_because = chosen.moved_because;
  if (own) place.cleaned = remove_leftovers(chosen.directory, *own);
  place.path = chosen.directory + "/" + name;
  VARVE_TRY(make_directory(place.path, 0700));
  if (::geteuid() == 0 && ::chown(place.path.c_str(), place.user.uid, place.user.gid) != 0) {
    return os_error("cannot give away", place.path);
  }
  return place;
}

// Blocks.
Result<int> wait_for(int pidfd) {
  siginfo_t info{};
  while (::waitid(P_PIDFD, static_cast<id_t>(pidfd), &info, WEXITED) != 0) {
    if (errno != EINTR) return os_error("cannot wait for", "initdb");
  }
  return info.si_code == CLD_EXITED ? info.si_status : 128 + info.si_status;
}

// The last line of the log that is an error, behind a colon. Blocks.
std::string last_complaint(const std::string& log) {
  const Result<std::string> text = read_file(log);
  if (!text.ok()) return "";
  for (size_t end = text->size(); end > 0;) {
    const size_t newline = text->rfind('\n', end - 1);
    const size_t begin = newline == std::string::npos ? 0 : newline + 1;
    for (const char* sign : {"PANIC: ", "FATAL: ", "error: "}) {
      const size_t at = text->substr(begin, end - begin).find(sign);
      if (at != std::string::npos) {
        return ": " + text->substr(begin + at, end - begin - at);
      }
    }
    if (begin == 0) break;
    end = begin - 1;
  }
  return "";
}

class InitdbSource final : public control::ClusterSource {
 public:
  InitdbSource(real_io::RealWorld& real, InitdbOptions options)
      : real_(real), options_(std::move(options)), threads_(real.reactor(), 1) {}

  Result<uint32_t> version(uint32_t major) override {
    if (major != 0 && (major < kFirstMajor || major > kLastMajor)) return not_installed(major);
    return run_on(threads_, "look for Postgres",
                  [options = options_, major](Syscalls&) { return find_version(options, major); });
  }

  Result<std::unique_ptr<storage::FileSource>> make(uint32_t version) override {
    World& world = real_.world();
    const std::string name =
        std::string(kScratch) + TenantId{world.random.unique_bytes("scratch cluster")}.to_string();
    own_.insert(name);
    const auto own = cleaned_ ? std::nullopt : std::optional(own_);
    VARVE_TRY_ASSIGN(const Place place, run_on(threads_, "a place for a cluster",
                                               [wanted = options_.scratch, name, own](Syscalls&) {
                                                 return prepare_place(wanted, name, own);
                                               }));
    if (own.has_value()) cleaned_ = place.cleaned.ok();
    if (!place.cleaned.ok()) {
      // An initdb of the killed life may be just about to end there: tried again the next time.
      world.log.warning("initdb_leftovers", "scratch clusters of an earlier life stay for now",
                        {{"why", place.cleaned}});
    }
    auto scratch = std::make_unique<Scratch>(threads_, place.path);
    VARVE_TRY(run_initdb(version / 10000, place, *scratch));
    VARVE_TRY_ASSIGN(std::vector<PlainFile> files,
                     run_on(threads_, "list a cluster's files",
                            [root = scratch->data()](Syscalls&) -> Result<std::vector<PlainFile>> {
                              std::vector<PlainFile> found;
                              VARVE_TRY(list_files(root, "", found));
                              return found;
                            }));
    return std::unique_ptr<storage::FileSource>(
        std::make_unique<ClusterFiles>(threads_, std::move(scratch), std::move(files)));
  }

 private:
  // Encoding and locale are the same on every machine; order and case of text are the C library's
  // least surprising. Nothing is synced: the files are read once and removed.
  Status run_initdb(uint32_t major, const Place& place, const Scratch& scratch) {
    real_io::Launch launch;
    launch.arguments = {binary(options_, major, "initdb"),
                        "--pgdata=" + scratch.data(),
                        "--username=postgres",
                        "--auth=trust",
                        "--encoding=UTF8",
                        "--locale=C.UTF-8",
                        "--no-sync",
                        "--no-instructions"};
    // What checksums would protect is protected by ours; 18 makes them unless told not to.
    if (major >= 18) launch.arguments.emplace_back("--no-data-checksums");
    launch.environment = {"PATH=/usr/bin:/bin", "LC_ALL=C.UTF-8"};
    launch.directory = scratch.path();
    launch.output_path = options_.log;
    launch.user = place.user;
    // On the loop's thread: its death takes initdb with it.
    Result<real_io::Launched> launched = real_io::launch(real_io::kernel(), launch);
    if (!launched.ok()) return launched.status();
    const Shield shield;  // whoever leaves would leave initdb's files behind
    VARVE_TRY_ASSIGN(const int exit,
                     run_on(threads_, "initdb",
                            [fd = launched->pidfd.get()](Syscalls&) { return wait_for(fd); }));
    if (exit == 0) return Status();
    VARVE_TRY_ASSIGN(const std::string why,
                     run_on(threads_, "what initdb said", [log = options_.log](Syscalls&) {
                       return Result<std::string>(last_complaint(log));
                     }));
    return Status(Code::kUnsupported, "initdb failed with exit code " + std::to_string(exit) + why)
        .with_object(launch.arguments[0])
        .with_hint("what it said is in " + options_.log);
  }

  real_io::RealWorld& real_;
  InitdbOptions options_;
  ThreadPool threads_;
  std::set<std::string> own_;  // scratch clusters of this life
  bool cleaned_ = false;       // those of earlier lives are gone
};

}  // namespace

std::unique_ptr<control::ClusterSource> make_initdb_source(real_io::RealWorld& real,
                                                           InitdbOptions options) {
  return std::make_unique<InitdbSource>(real, std::move(options));
}

}  // namespace varve::tool
