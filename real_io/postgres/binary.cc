#include "real_io/postgres/binary.h"

#include <elf.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <string_view>

#include "real_io/errors.h"
#include "real_io/postgres/files.h"
#include "real_io/unique_fd.h"

namespace varve::real_io {
namespace {

// Beginnings of names of calls by which a program reads, writes, shortens, renames or maps files.
// Not here: those that only look (stat, opendir), make new empty things, or give out zeroed space
// behind a file's end (posix_fallocate), where every block is local.
constexpr std::array<std::string_view, 46> kFileCalls = {
    "read",      "readv",     "pread",    "preadv",  "__read_chk", "__pread",   "write",
    "writev",    "pwrite",    "pwritev",  "open",    "open64",     "openat",    "openat2",
    "__open",    "creat",     "fopen",    "freopen", "fdopen",     "close",     "dup",
    "dup2",      "dup3",      "fcntl",    "mmap",    "sendfile",   "splice",    "tee",
    "vmsplice",  "truncate",  "unlink",   "remove",  "rename",     "link",      "symlink",
    "fsync",     "fdatasync", "sync",     "syncfs",  "msync",      "fallocate", "posix_fadvise",
    "copy_file", "aio_",      "lio_list", "syscall"};
constexpr std::array<std::string_view, 2> kRingCalls = {"io_uring_", "io_submit"};

bool touches_files(std::string_view name, bool ring) {
  for (const std::string_view call : kFileCalls) {
    if (name == call) return true;
    // Their variants: 64, at, v2, _chk, and whole families that end in '_' or are cut here.
    if (!name.starts_with(call)) continue;
    const std::string_view rest = name.substr(call.size());
    if (call.ends_with('_') || call == "copy_file" || call == "lio_list" || call == "__open" ||
        call == "__pread" || rest == "64" || rest == "at" || rest == "at2" || rest == "v" ||
        rest == "v2" || rest == "64v2" || rest == "_chk" || rest == "_range" || rest == "v64") {
      return true;
    }
  }
  if (name == "ftruncate" || name == "ftruncate64") return true;
  return ring && std::any_of(kRingCalls.begin(), kRingCalls.end(),
                             [&](std::string_view call) { return name.starts_with(call); });
}

Status cut_off(const std::string& path) {
  return Status(Code::kCorrupt, "not a whole 64-bit ELF file with dynamic symbols")
      .with_object(path)
      .with_hint("build or install it again");
}

class ElfFile {
 public:
  ElfFile(int fd, const std::string& path) : fd_(fd), path_(path) {
    struct stat about {};
    if (::fstat(fd, &about) == 0) size_ = static_cast<uint64_t>(about.st_size);
  }

  Result<std::vector<uint8_t>> part(uint64_t offset, uint64_t bytes) const {
    if (offset > size_ || bytes > size_ - offset) return cut_off(path_);
    std::vector<uint8_t> out(bytes);
    const int64_t got = read_all(fd_, out, offset);
    if (got < 0) return error_status(static_cast<int>(-got), "read", path_);
    if (static_cast<uint64_t>(got) != bytes) return cut_off(path_);
    return out;
  }

  template <class T>
  Result<std::vector<T>> records(uint64_t offset, uint64_t bytes) const {
    VARVE_TRY_ASSIGN(const std::vector<uint8_t> raw, part(offset, bytes / sizeof(T) * sizeof(T)));
    std::vector<T> out(raw.size() / sizeof(T));
    if (!raw.empty()) std::memcpy(out.data(), raw.data(), raw.size());
    return out;
  }

 private:
  int fd_;
  const std::string& path_;
  uint64_t size_ = 0;
};

Result<DynamicSymbols> symbols_of(const ElfFile& file, const std::string& path) {
  VARVE_TRY_ASSIGN(const auto headers, file.records<Elf64_Ehdr>(0, sizeof(Elf64_Ehdr)));
  const Elf64_Ehdr& header = headers.front();
  if (std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 || header.e_ident[EI_CLASS] != ELFCLASS64 ||
      header.e_ident[EI_DATA] != ELFDATA2LSB || header.e_shentsize != sizeof(Elf64_Shdr)) {
    return cut_off(path);
  }
  VARVE_TRY_ASSIGN(
      const auto sections,
      file.records<Elf64_Shdr>(header.e_shoff, uint64_t{header.e_shnum} * sizeof(Elf64_Shdr)));
  for (const Elf64_Shdr& section : sections) {
    if (section.sh_type != SHT_DYNSYM || section.sh_link >= sections.size()) continue;
    const Elf64_Shdr& names = sections[section.sh_link];
    VARVE_TRY_ASSIGN(const auto symbols,
                     file.records<Elf64_Sym>(section.sh_offset, section.sh_size));
    VARVE_TRY_ASSIGN(std::vector<uint8_t> text, file.part(names.sh_offset, names.sh_size));
    text.push_back(0);
    DynamicSymbols out;
    for (const Elf64_Sym& symbol : symbols) {
      if (symbol.st_name >= text.size()) return cut_off(path);
      const char* name = reinterpret_cast<const char*>(text.data()) + symbol.st_name;
      if (*name == 0) continue;
      (symbol.st_shndx == SHN_UNDEF ? out.undefined : out.defined).emplace_back(name);
    }
    return out;
  }
  return cut_off(path);
}

}  // namespace

Result<DynamicSymbols> read_dynamic_symbols(const std::string& path) {
  const UniqueFd fd(kernel(), ::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.valid()) return error_status(errno, "open", path);
  return symbols_of(ElfFile(fd.get(), path), path);
}

std::vector<std::string> uncovered_file_calls(const std::vector<std::string>& wanted,
                                              const std::vector<std::string>& covered, bool ring) {
  std::vector<std::string> out;
  for (const std::string& name : wanted) {
    if (touches_files(name, ring) &&
        std::find(covered.begin(), covered.end(), name) == covered.end()) {
      out.push_back(name);
    }
  }
  return out;
}

}  // namespace varve::real_io
