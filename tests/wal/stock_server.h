// A stock Postgres in a scratch directory, driven through its own programs.
//
// Postgres refuses to run as root, so as root everything runs as user postgres. Failing commands
// end the test program with their output: these are tools of a test, not its subject.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace varve::test {

struct CommandResult {
  int exit_code = 0;
  std::string output;  // stdout and stderr
};

// Runs `command` with /bin/sh as the user that Postgres runs as.
CommandResult run_as_postgres(const std::string& command);

std::vector<uint8_t> read_file(const std::string& path);
void write_file(const std::string& path, const std::vector<uint8_t>& bytes);

class StockServer {
 public:
  // initdb in a fresh directory under /var/tmp, with `settings` (lines of postgresql.conf) added.
  explicit StockServer(const std::string& settings);
  // Stops the server and removes the directory.
  ~StockServer();
  StockServer(const StockServer&) = delete;
  StockServer& operator=(const StockServer&) = delete;

  void start();
  // "fast" or "immediate".
  void stop(const std::string& mode);
  void set(const std::string& settings);  // more lines; effective at the next start or reload
  // Rows as psql -A -t prints them. Each statement is a transaction of its own.
  std::string sql(const std::string& database, const std::string& statements);
  void sql_file(const std::string& database, const std::string& path);
  // One of the server's programs, connected to it: tool("pgbench -i bench").
  CommandResult tool(const std::string& command_line) const;

  const std::string& directory() const { return directory_; }
  std::string data() const { return directory_ + "/data"; }
  std::string wal() const { return data() + "/pg_wal"; }
  std::string log() const;  // the server's log so far

 private:
  std::string directory_;
  bool running_ = false;
};

}  // namespace varve::test
