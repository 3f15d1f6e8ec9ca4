#include "real_io/errors.h"

#include <cerrno>
#include <cstring>

namespace varve::real_io {
namespace {

struct Meaning {
  int error;
  Code code;
  const char* hint;
};

constexpr Meaning kMeanings[] = {
    {ENOENT, Code::kNotFound, ""},
    {ENOTDIR, Code::kInvalid, "a part of the path is a file where a directory is expected"},
    {EEXIST, Code::kExists, ""},
    {ENOTEMPTY, Code::kExists, "the directory is not empty"},
    {EISDIR, Code::kInvalid, "it is a directory"},
    {ENOSPC, Code::kFull, "free some space on the disk"},
    {EDQUOT, Code::kFull, "the disk quota is used up"},
    {EFBIG, Code::kFull, "the file would become larger than the file system or the limit allows"},
    {EMFILE, Code::kFull, "raise the limit on open files (ulimit -n)"},
    {ENFILE, Code::kFull, "raise the system's limit on open files (fs.file-max)"},
    {ENOMEM, Code::kFull, "the system is out of memory"},
    {ENOBUFS, Code::kFull, "the system is out of memory"},
    {EACCES, Code::kRefused, "give the user who runs this the right to it"},
    {EPERM, Code::kRefused, "give the user who runs this the right to it"},
    {EROFS, Code::kRefused, "the file system is mounted read-only"},
    {EINVAL, Code::kInvalid, ""},
    {ENAMETOOLONG, Code::kInvalid, ""},
    {ELOOP, Code::kInvalid, ""},
    {EADDRINUSE, Code::kExists, "another process listens there; stop it or choose another port"},
    {EADDRNOTAVAIL, Code::kUnavailable, ""},
    {ECONNREFUSED, Code::kUnavailable, ""},
    {ECONNRESET, Code::kUnavailable, ""},
    {ECONNABORTED, Code::kUnavailable, ""},
    {EPIPE, Code::kUnavailable, ""},
    {ENOTCONN, Code::kUnavailable, ""},  // shutdown() after the peer's reset
    {ETIMEDOUT, Code::kUnavailable, ""},
    {EHOSTUNREACH, Code::kUnavailable, ""},
    {ENETUNREACH, Code::kUnavailable, ""},
    {ENETDOWN, Code::kUnavailable, ""},
    {EHOSTDOWN, Code::kUnavailable, ""},
    // The device failed. Another read may succeed, another copy of the data certainly exists
    // elsewhere.
    {EIO, Code::kUnavailable, "the disk reports an error; look at the kernel's log"},
};

}  // namespace

std::string error_text(int error) {
  char buffer[128];
  return std::string(::strerror_r(error, buffer, sizeof buffer)) + " (" + std::to_string(error) +
         ")";
}

Status error_status(int error, std::string_view action, std::string_view object,
                    std::source_location origin) {
  Code code = Code::kInternal;
  const char* hint = "";
  for (const Meaning& meaning : kMeanings) {
    if (meaning.error != error) continue;
    code = meaning.code;
    hint = meaning.hint;
    break;
  }
  return Status(code, std::string(action) + ": " + error_text(error), origin)
      .with_object(std::string(object))
      .with_hint(hint);
}

}  // namespace varve::real_io
