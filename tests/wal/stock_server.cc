#include "tests/wal/stock_server.h"

#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>

namespace varve::test {
namespace {

constexpr char kPrograms[] = "/usr/lib/postgresql/15/bin/";

[[noreturn]] void fail(const std::string& what) {
  std::fprintf(stderr, "%s\n", what.c_str());
  std::exit(1);
}

// For use between single quotes of a shell.
std::string quoted(const std::string& text) {
  std::string out = "'";
  for (const char c : text) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return out + "'";
}

std::string must(const std::string& command) {
  const CommandResult result = run_as_postgres(command);
  if (result.exit_code != 0) fail(command + "\n" + result.output);
  return result.output;
}

}  // namespace

CommandResult run_as_postgres(const std::string& command) {
  const std::string as_user = geteuid() == 0 ? "runuser -u postgres -- /bin/sh -c " : "/bin/sh -c ";
  FILE* pipe = popen(("cd / && " + as_user + quoted(command + " 2>&1")).c_str(), "r");
  if (pipe == nullptr) fail("popen: " + command);
  CommandResult result;
  char buffer[4096];
  for (size_t n; (n = fread(buffer, 1, sizeof buffer, pipe)) > 0;) result.output.append(buffer, n);
  const int status = pclose(pipe);
  result.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 255;
  return result;
}

std::vector<uint8_t> read_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) fail("can't read " + path);
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

void write_file(const std::string& path, const std::vector<uint8_t>& bytes) {
  // In place: the owner must stay the server's.
  FILE* file = std::fopen(path.c_str(), "r+b");
  if (file == nullptr || std::fwrite(bytes.data(), 1, bytes.size(), file) != bytes.size() ||
      std::fclose(file) != 0)
    fail("can't write " + path);
}

StockServer::StockServer(const std::string& settings) {
  char name[] = "/var/tmp/varve-stock-XXXXXX";
  if (access((std::string(kPrograms) + "postgres").c_str(), X_OK) != 0)
    fail("Postgres 15 is not installed: apt-get install postgresql-15");
  if (mkdtemp(name) == nullptr) fail("mkdtemp");
  directory_ = name;
  chmod(name, 0777);  // the server's user works in it too
  must("mkdir " + directory_ + "/socket && " + kPrograms + "initdb -D " + data() +
       " -U postgres -A trust --no-locale -E UTF8 -N");
  set("listen_addresses = ''\nunix_socket_directories = '" + directory_ +
      "/socket'\nfsync = off\n" + settings);
}

StockServer::~StockServer() {
  // May run while the program ends because of an error: nothing here may end it again.
  if (running_)
    run_as_postgres(std::string(kPrograms) + "pg_ctl -D " + data() + " -m immediate -w stop");
  run_as_postgres("rm -rf " + directory_ + "/*");
  rmdir(directory_.c_str());
}

void StockServer::set(const std::string& settings) {
  must("printf '%s\\n' " + quoted(settings) + " >> " + data() + "/postgresql.conf");
}

void StockServer::start() {
  const CommandResult result = run_as_postgres(std::string(kPrograms) + "pg_ctl -D " + data() +
                                               " -l " + directory_ + "/log -w start >/dev/null");
  if (result.exit_code != 0) fail("the server did not start\n" + log());
  running_ = true;
}

void StockServer::stop(const std::string& mode) {
  must(std::string(kPrograms) + "pg_ctl -D " + data() + " -m " + mode + " -w stop");
  running_ = false;
}

std::string StockServer::sql(const std::string& database, const std::string& statements) {
  // Through stdin, so that each statement is a transaction of its own.
  return must("printf '%s' " + quoted(statements) + " | PGHOST=" + directory_ +
              "/socket PGUSER=postgres " + kPrograms + "psql -X -q -A -t -v ON_ERROR_STOP=1 -d " +
              database);
}

void StockServer::sql_file(const std::string& database, const std::string& path) {
  // Through stdin: the server's user may not enter the source tree.
  const std::vector<uint8_t> bytes = read_file(path);
  const std::string copy = directory_ + "/script.sql";
  std::ofstream(copy, std::ios::binary)
      .write(reinterpret_cast<const char*>(bytes.data()),
             static_cast<std::streamsize>(bytes.size()));
  const CommandResult result = tool("psql -X -q -v ON_ERROR_STOP=1 -d " + database + " -f " + copy);
  if (result.exit_code != 0) fail(path + "\n" + result.output);
}

CommandResult StockServer::tool(const std::string& command_line) const {
  return run_as_postgres("PGHOST=" + directory_ + "/socket PGUSER=postgres " + kPrograms +
                         command_line);
}

std::string StockServer::log() const {
  return run_as_postgres("cat " + directory_ + "/log").output;
}

}  // namespace varve::test
