#include "real_io/real_world.h"

#include "real_io/hold_until_sync.h"

namespace varve::real_io {

Result<FileBackend> parse_file_backend(std::string_view text) {
  if (text == "auto") return FileBackend::kAutomatic;
  if (text == "threads") return FileBackend::kThreads;
  if (text == "uring") return FileBackend::kUring;
  return Status(Code::kInvalid, "no file backend is called '" + std::string(text) + "'")
      .with_hint("auto, threads or uring");
}

RealWorld::RealWorld(const RealOptions& options, Syscalls& syscalls)
    : clock_(syscalls),
      random_(syscalls),
      reactor_(syscalls, clock_),
      file_threads_(reactor_, options.file_threads),
      offload_(reactor_, options.offload_threads),
      network_(make_network(file_threads_, options.network)) {}

RealWorld::~RealWorld() = default;

Status RealWorld::open(const RealOptions& options) {
  backend_.reset(new DiskBackend{file_threads_, nullptr, true, options.on_failed_sync});
  if (!backend_->on_failed_sync) backend_->on_failed_sync = end_on_failed_sync;
  if (options.files != FileBackend::kThreads) ring_ = UringTransfers::create(file_threads_);
  if (options.files == FileBackend::kUring && ring_ == nullptr) {
    return Status(Code::kUnsupported, "the kernel gives no io_uring")
        .with_hint("choose the file backend 'threads', or look at kernel.io_uring_disabled");
  }
  VARVE_TRY_ASSIGN(log_, open_log(options.log, clock_));
  backend_->ring = ring_.get();
  VARVE_TRY_ASSIGN(real_disk_, open_directory(options.root));
  if (options.hold_until_sync) held_disk_ = hold_until_sync(*real_disk_);
  processes_ = make_process_host(reactor_, options.root);
  Disk& disk = held_disk_ == nullptr ? *real_disk_ : *held_disk_;
  world_.reset(
      new World{reactor_.scheduler(), clock_, random_, *network_, disk, offload_, *log_, metrics_});
  return Status();
}

Result<std::unique_ptr<RealWorld>> RealWorld::create(const RealOptions& options,
                                                     Syscalls& syscalls) {
  std::unique_ptr<RealWorld> world(new RealWorld(options, syscalls));
  VARVE_TRY(world->open(options));
  return world;
}

Result<std::unique_ptr<Disk>> RealWorld::open_directory(const std::string& path) {
  return open_disk(reactor_.syscalls(), path, *backend_);
}

Status RealWorld::run(std::function<Status(RealWorld&)> main) {
  Status result;
  reactor_.scheduler().start("main", [&] { result = main(*this); });
  reactor_.run();
  return result;
}

}  // namespace varve::real_io
