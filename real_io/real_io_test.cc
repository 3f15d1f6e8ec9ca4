// The parts of the real world that the contract suite can't see from outside.
#include <gtest/gtest.h>

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <thread>

#include "real_io/errors.h"
#include "real_io/main_world.h"
#include "real_io/seeded_syscalls.h"
#include "runtime/sync.h"

namespace varve::real_io {
namespace {

class TemporaryDirectory {
 public:
  TemporaryDirectory() {
    char name[] = "/tmp/varve_real_io_XXXXXX";
    path_ = ::mkdtemp(name);
  }
  ~TemporaryDirectory() { (void)!std::system(("rm -rf " + path_).c_str()); }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

RealOptions options_in(const TemporaryDirectory& directory,
                       FileBackend files = FileBackend::kAutomatic) {
  RealOptions options;
  options.root = directory.path();
  options.files = files;
  return options;
}

TEST(Log, LineIsOneEventAndCannotBeForged) {
  std::vector<Field> fields;
  fields.emplace_back("count", 3);
  fields.emplace_back("name", std::string("a b\nINFO \"x\""));
  EXPECT_EQ(format_line(WallTime::from_unix_micros(1700000000123456), Severity::kWarning,
                        "odd_name", "seen", fields),
            "2023-11-14T22:13:20.123456Z WARNING odd_name \"seen\" count=3 "
            "name=\"a b\\nINFO \\\"x\\\"\"");
}

TEST(Disk, PathsOutsideAreRefused) {
  for (const char* bad : {"", "/etc/passwd", "..", "a/../b", "a//b", "a/", "./a", "."}) {
    EXPECT_TRUE(check_path(bad).is(Code::kInvalid)) << bad;
  }
  EXPECT_FALSE(check_path(std::string_view("a\0b", 3)).ok());
  for (const char* good : {"a", "a/b", "..a", "a/.b"}) EXPECT_TRUE(check_path(good).ok()) << good;
}

TEST(World, RunsFibersFilesAndStreams) {
  const TemporaryDirectory directory;
  for (const FileBackend files : {FileBackend::kThreads, FileBackend::kUring}) {
    auto world = RealWorld::create(options_in(directory, files));
    ASSERT_TRUE(world.ok()) << world.status().to_string();
    const Status status = (*world)->run([](RealWorld& real) -> Status {
      World& w = real.world();
      VARVE_TRY(replace_file(w.disk, "x", Bytes::copy("hello")));
      VARVE_TRY_ASSIGN(const Bytes back, read_file(w.disk, "x"));
      EXPECT_EQ(back.view(), "hello");
      VARVE_TRY_ASSIGN(auto listener, w.network.listen({"", 0}));
      Scope scope("test");
      scope.spawn("server", [&]() -> Status {
        VARVE_TRY_ASSIGN(auto stream, listener->accept());
        for (;;) {
          VARVE_TRY_ASSIGN(Bytes piece, stream->read());
          if (piece.empty()) return stream->close_write();
          VARVE_TRY(stream->write(std::move(piece)));
        }
      });
      VARVE_TRY_ASSIGN(auto stream, w.network.connect(listener->address()));
      VARVE_TRY(stream->write(Bytes::copy("ping")));
      VARVE_TRY(stream->close_write());
      BufferedReader reader(*stream);
      VARVE_TRY_ASSIGN(const Bytes echo, reader.read_exactly(4));
      EXPECT_EQ(echo.view(), "ping");
      VARVE_TRY_ASSIGN(const Bytes end, stream->read());
      EXPECT_TRUE(end.empty());
      return scope.join();
    });
    EXPECT_TRUE(status.ok()) << status.to_string();
  }
}

// Every sync fails, nothing else does.
class NoSync final : public Syscalls {
 public:
  int fdatasync(int) override { return -EIO; }
  int fsync(int) override { return -EIO; }
};

TEST(Disk, AFailedSyncEndsTheProcess) {
  const TemporaryDirectory directory;
  const auto write_something = [&](bool durable) {
    NoSync syscalls;
    auto world = RealWorld::create(options_in(directory), syscalls);
    (void)(*world)->run([&](RealWorld& real) -> Status {
      VARVE_TRY_ASSIGN(auto file, real.world().disk.open("f", OpenMode::kCreate));
      if (durable) return file->write_durable(0, {Bytes::copy("x")});
      VARVE_TRY(file->write(0, {Bytes::copy("x")}));
      return file->sync();
    });
  };
  for (const bool durable : {false, true}) {
    const pid_t child = ::fork();
    if (child == 0) {
      (void)!::freopen("/dev/null", "w", stderr);
      write_something(durable);
      ::_exit(0);
    }
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 74) << status;
  }
}

// A disk whose syncs take what the test says, and who asked for them.
class PacedSync final : public Syscalls {
 public:
  int fdatasync(int) override {
    if (std::this_thread::get_id() == loop_) ++on_loop;
    if (slow) (void)::usleep(2000);
    return 0;
  }
  std::atomic<bool> slow{false};
  std::atomic<int> on_loop{0};

 private:
  std::thread::id loop_ = std::this_thread::get_id();
};

TEST(Disk, CommitsOfAFastDiskNeedNoThread) {
  const TemporaryDirectory directory;
  PacedSync syscalls;
  auto world = RealWorld::create(options_in(directory), syscalls);
  ASSERT_TRUE(world.ok());
  // How many of `count` writes in a row were made by the loop.
  const auto writes = [&](RealWorld& real, WorkClass work_class, int count) {
    FiberContext context = fiber_context();
    context.work_class = work_class;
    const ContextGuard guard(context);
    const int before = syscalls.on_loop;
    auto file = real.world().disk.open("file", OpenMode::kCreate);
    EXPECT_TRUE(file.ok());
    for (int i = 0; i < count; ++i) {
      EXPECT_TRUE((*file)->write_durable(100 * static_cast<uint64_t>(i), {Bytes::copy("x")}).ok());
    }
    return syscalls.on_loop - before;
  };
  const Status done = (*world)->run([&](RealWorld& real) {
    syscalls.slow = true;
    EXPECT_EQ(writes(real, WorkClass::kCommit, 30), 0) << "not known to be fast";
    syscalls.slow = false;
    EXPECT_GT(writes(real, WorkClass::kCommit, 1000), 0);
    EXPECT_EQ(writes(real, WorkClass::kIngest, 100), 0) << "nobody waits for it";
    syscalls.slow = true;
    EXPECT_LE(writes(real, WorkClass::kCommit, 30), 1) << "a stall, once";
    return Status();
  });
  EXPECT_TRUE(done.ok());
}

TEST(Disk, AFullDiskIsNamedAndGoesOn) {
  const TemporaryDirectory directory;
  for (const FileBackend files : {FileBackend::kThreads, FileBackend::kUring}) {
    SeededSyscalls syscalls(1, SyscallNoise{});
    auto world = RealWorld::create(options_in(directory, files), syscalls);
    ASSERT_TRUE(world.ok());
    const Status done = (*world)->run([&](RealWorld& real) -> Status {
      VARVE_TRY_ASSIGN(auto file, real.world().disk.open("some_file", OpenMode::kCreate));
      SyscallNoise full;
      full.disk_full = 1000000;
      syscalls.reseed(1, full);
      const Status status = file->write(0, {Bytes::copy("x")});
      EXPECT_EQ(status.code(), Code::kFull);
      EXPECT_NE(status.to_string().find("some_file"), std::string::npos) << status.to_string();
      syscalls.reseed(1, SyscallNoise{});
      return file->write(0, {Bytes::copy("x")});
    });
    EXPECT_TRUE(done.ok()) << done.to_string();
  }
}

TEST(World, ForeignDirectoriesAndBackendsAreRefused) {
  RealOptions options;
  options.root = "/no/such/directory";
  const auto missing = RealWorld::create(options);
  EXPECT_EQ(missing.code(), Code::kNotFound);
  EXPECT_NE(missing.status().to_string().find("/no/such/directory"), std::string::npos);
  EXPECT_EQ(parse_file_backend("floppy").code(), Code::kInvalid);
}

}  // namespace
}  // namespace varve::real_io
