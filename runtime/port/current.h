// The one piece of per-thread state in the house: which scheduler runs on this thread.
//
// Fibers never change threads, so a pointer per thread is a pointer per reactor. Everything that
// belongs to a fiber (deadline, account, scope) hangs off the fiber itself, never off the thread.
#pragma once

namespace varve {
class Scheduler;
namespace port {

// The scheduler whose fiber or event is being run on this thread; null outside.
Scheduler* current_scheduler();
// Returns the previous one. Only schedulers call it, around each run.
Scheduler* exchange_current_scheduler(Scheduler* scheduler);

}  // namespace port
}  // namespace varve
