// Who a Postgres runs as, and where its directories may lie.
//
// Postgres refuses root, so as root it runs as an unprivileged user, who must be able to enter
// every directory above its own: a data directory below /root can't be used, whatever its own mode.
// And a Unix socket's path has 107 bytes at most. Where either fails, the computes of a directory
// go to a fixed place with a hash of it. Functions block on local files: call them on a thread.
#pragma once

#include <sys/types.h>

#include <string>
#include <string_view>

#include "base/status.h"

namespace varve::real_io {

struct PostgresUser {
  std::string name;
  uid_t uid = 0;
  gid_t gid = 0;
};

// As root: `wanted`, or without it `varve`, or else `postgres`; never a user with root's number.
// Otherwise the user of this process, and `wanted` must be that. Unsupported when there is none.
Result<PostgresUser> choose_postgres_user(const std::string& wanted);

// A user without a name whose number nobody else has. As root only; Unsupported when this process'
// name space of users has no such number.
Result<PostgresUser> numbered_user(uint32_t number);

// Empty when `user` may search the absolute `path` and all directories above it and the file system
// lets files there be executed; else a clause that says what is in the way.
std::string why_unusable(const std::string& path, const PostgresUser& user);

struct PostgresPlace {
  std::string directory;      // absolute, exists
  std::string moved_because;  // empty: it is the wanted one
};

// `wanted` (made if it doesn't exist), or where its computes go instead.
Result<PostgresPlace> choose_place(const std::string& wanted, const PostgresUser& user);

// Longest directory below which the sockets of an incarnation have addresses.
inline constexpr size_t kLongestPlace = 107 - sizeof("/0123456789abcdef/run/.s.PGSQL.65535") + 1;

// While it lives, this thread's file calls are made as `user`: files that it makes are theirs, and
// a name that Postgres bent towards a foreign file opens nothing that Postgres couldn't open. No
// effect for the process' own user. Never hold it over a wait, and never on the loop's
// thread: with a thread's user the kernel forgets its parent-death signal, and a supervisor that
// dies would leave us behind.
class AsUser {
 public:
  explicit AsUser(const PostgresUser& user);
  ~AsUser();
  AsUser(const AsUser&) = delete;
  AsUser& operator=(const AsUser&) = delete;

 private:
  int uid_ = -1;
  int gid_ = -1;
};

}  // namespace varve::real_io
