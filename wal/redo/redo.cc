#include "wal/redo/redo.h"

#include <array>
#include <cstring>
#include <string>

#include "wal/image.h"
#include "wal/redo/manager.h"
#include "wal/redo/page.h"
#include "wal/redo/visibility.h"

namespace varve::wal::redo {
namespace {

constexpr std::array<Manager, 22> make_managers() {
  std::array<Manager, 22> table{};
  const auto set = [&table](Rmgr rmgr, Manager manager) {
    table[static_cast<uint8_t>(rmgr)] = manager;
  };
  set(Rmgr::kXlog, {"XLOG", xlog_redo, xlog_needs, xlog_touches});
  set(Rmgr::kHeap2, {"Heap2", heap2_redo, heap2_needs, nullptr, heap2_keeps_lsn});
  set(Rmgr::kHeap, {"Heap", heap_redo, heap_needs});
  set(Rmgr::kBtree, {"Btree", btree_redo, btree_needs});
  set(Rmgr::kSequence, {"Sequence", sequence_redo, sequence_needs});
  set(Rmgr::kGeneric, {"Generic", generic_redo, generic_needs});
  set(Rmgr::kHash,
      {"Hash", nullptr, nullptr, nullptr, nullptr, hash_after_image, hash_after_image_needs});
  set(Rmgr::kGist,
      {"Gist", nullptr, nullptr, nullptr, nullptr, gist_after_image, gist_after_image_needs});
  return table;
}

constexpr std::array<Manager, 22> kManagers = make_managers();
constexpr Manager kNoManager{};

// "Heap operation 0x20, block 1".
std::string describe(const PageDelta& delta) {
  if (delta.visibility) return "visibility map change";
  static constexpr char kDigits[] = "0123456789abcdef";
  return std::string(rmgr_name(delta.rmid)) + " operation 0x" + kDigits[delta.operation >> 4] +
         kDigits[delta.operation & 15] + ", block " + std::to_string(delta.block_id);
}

Status restore(const PageDelta& delta, std::span<uint8_t> bytes) {
  Page page(bytes);
  VARVE_TRY(restore_image(*delta.image, page.bytes()));
  if (page.is_new()) return Status();
  page.set_lsn(delta.end);
  const Manager& manager = manager_of(delta.rmid);
  if (manager.after_image == nullptr) return Status();
  return manager.after_image(delta, page);
}

Status change(const BlockId& id, const PageDelta& delta, std::span<uint8_t> bytes) {
  const Manager& manager = manager_of(delta.rmid);
  if (manager.redo == nullptr) {
    return Status(Code::kUnsupported,
                  std::string("no native redo for resource manager ") + rmgr_name(delta.rmid))
        .with_hint(
            "drop or rebuild the index; the page is readable again after its next full image");
  }
  Page page(bytes);
  if (delta.will_init) {
    std::memset(bytes.data(), 0, bytes.size());
  } else if (id.fork != Fork::kVisibility || !page.is_new()) {
    VARVE_TRY(page.check_base());
    if (page.lsn() >= delta.end) {
      return corrupt("the page is already at " + page.lsn().to_string());
    }
  }
  VARVE_TRY(manager.redo(delta, id, page));
  if (!delta.keep_lsn) page.set_lsn(delta.end);
  return Status();
}

}  // namespace

const Manager& manager_of(uint8_t rmid) {
  return rmid < kManagers.size() ? kManagers[rmid] : kNoManager;
}

Status unknown_operation(const PageDelta&) {
  return corrupt("no such operation or block in this resource manager");
}

Status located(Status status, const BlockId& id, const PageDelta& delta) {
  if (status.ok()) return status;
  return std::move(status)
      .with_context(id.to_string() + ": " + describe(delta))
      .with_object(id.to_string())
      .with_lsn(delta.end);
}

Status need_main_data(const PageDelta& delta, size_t size) {
  if (delta.main_data.size() >= size) return Status();
  return corrupt("main data of " + std::to_string(delta.main_data.size()) + " bytes where " +
                 std::to_string(size) + " are needed");
}

Status apply(const BlockId& id, std::span<uint8_t> page, const PageDelta& delta) {
  VARVE_CHECK(page.size() == kBlockSize);
  Status status = delta.visibility ? apply_visibility(*delta.visibility, id, Page(page).bytes())
                  : delta.image    ? restore(delta, page)
                                   : change(id, delta, page);
  if (status.ok() && !Page(page).sane()) status = corrupt("the result is not a Postgres page");
  return located(std::move(status), id, delta);
}

Status apply(const BlockId& id, std::span<uint8_t> page, Lsn end, std::span<const uint8_t> bytes) {
  PageDelta delta;
  VARVE_TRY(parse_into(bytes, end, delta));
  return apply(id, page, delta);
}

}  // namespace varve::wal::redo
