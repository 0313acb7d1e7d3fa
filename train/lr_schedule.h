// The learning rate as a function of the step.
#pragma once
#include <cstdint>

namespace tidepool {

struct ScheduleConfig;

/// The learning rate of step `step` (from 0) of a run of `total_steps`; a pure function, so that a resumed run goes on
/// as it was. Parameters move from `first_step` on: before it the rate is 0, there the warm-up begins, which rises
/// linearly, (step + 1) / warm-up steps. After it the schedule's own form: cosine, linear and polynomial fall to
/// `end_lr`, reached after the last step; constant, step and exponential have none. Milestones are epochs of the run.
/// From `total_steps` on the last value holds.
double learning_rate(const ScheduleConfig& schedule, double base_lr, int64_t step, int64_t steps_per_epoch,
                     int64_t total_steps, int64_t first_step = 0);

}  // namespace tidepool
