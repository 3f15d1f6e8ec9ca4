#include "compute/agent/kept_settings.h"

namespace varve::compute {
namespace {

constexpr const char* kPath = "postgresql.auto.conf";
constexpr const char* kDraft = "postgresql.auto.conf.new";

}  // namespace

Status KeptSettings::load() {
  auto file = disk_.open(kPath, OpenMode::kRead);
  if (!file.ok() && !file.is(Code::kNotFound)) return file.status();
  if (file.ok()) {
    VARVE_TRY_ASSIGN(const uint64_t size, (*file)->size());
    VARVE_TRY_ASSIGN(const Bytes bytes, (*file)->read_at(0, size));
    content_.assign(bytes.span().begin(), bytes.span().end());
  }
  loaded_ = true;
  return Status();
}

Result<std::string> KeptSettings::for_next_life() {
  if (!loaded_) VARVE_TRY(load());
  if (!left_out_) return content_;
  log_.warning("settings_left_out",
               "Postgres did not start with what ALTER SYSTEM has set: it begins without",
               {{"settings", content_}});
  return std::string();
}

Status KeptSettings::keep(const Bytes& content) {
  const std::string text(content.span().begin(), content.span().end());
  if (!loaded_) VARVE_TRY(load());
  if (text == content_) return Status();
  // Begun without them: what the file lacks was not taken away by the user.
  if (left_out_ && text.empty()) return Status();
  {
    VARVE_TRY_ASSIGN(const std::unique_ptr<File> file, disk_.open(kDraft, OpenMode::kCreate));
    VARVE_TRY(file->truncate(0));
    VARVE_TRY(file->write(0, {content}));
    VARVE_TRY(file->sync());
  }
  VARVE_TRY(disk_.rename(kDraft, kPath));
  VARVE_TRY(disk_.sync_directory(""));
  content_ = text;
  left_out_ = false;
  return Status();
}

void KeptSettings::life_ended(bool took_connections) {
  if (!took_connections && !content_.empty()) left_out_ = true;
}

}  // namespace varve::compute
