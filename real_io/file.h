// One open file. Made by the Disk.
#pragma once

#include <utility>

#include "real_io/disk.h"

namespace varve::real_io {

class RealFile final : public File {
 public:
  RealFile(std::shared_ptr<OpenFile> file, const DiskBackend& backend)
      : file_(std::move(file)), backend_(backend) {}
  ~RealFile() override;

  Result<std::vector<Bytes>> read(std::vector<ReadOperation> operations) override;
  Status write(uint64_t offset, std::vector<Bytes> data) override;
  Status write_durable(uint64_t offset, std::vector<Bytes> data) override;
  Status sync() override;
  Status truncate(uint64_t size) override;
  Status punch(uint64_t offset, uint64_t length) override;
  Result<uint64_t> size() override;
  const std::string& path() const override { return file_->path; }

 private:
  bool read_cached(Transfer& transfer);
  void start(Transfer* transfer);
  Result<bool> perform_here(Transfer& transfer);
  Status transfer_out(uint64_t offset, std::vector<Bytes> data, bool durable);
  // Refused on a file for reading, and after an abandoned write.
  Status check_writable() const;
  template <class F>
  Status change(const char* label, const char* action, F function);

  std::shared_ptr<OpenFile> file_;
  const DiskBackend& backend_;
};

}  // namespace varve::real_io
