#include "train/lr_schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "train/config.h"

namespace tidepool {

double learning_rate(const ScheduleConfig& schedule, double base_lr, int64_t step, int64_t steps_per_epoch,
                     int64_t total_steps, int64_t first_step) {
  if (step < first_step) return 0.0;
  const double per_epoch = static_cast<double>(steps_per_epoch);
  const int64_t warmup = std::llround(schedule.warmup_epochs * per_epoch);
  const int64_t since = step - first_step;
  if (since < warmup) return base_lr * static_cast<double>(since + 1) / static_cast<double>(warmup);

  const int64_t begin = first_step + warmup;
  // 0 at the end of the warm-up, 1 after the last step
  const double progress =
      step >= total_steps ? 1.0 : static_cast<double>(step - begin) / static_cast<double>(total_steps - begin);
  switch (schedule.type) {
    case ScheduleType::kConstant:
      return base_lr;
    case ScheduleType::kCosine:
      return schedule.end_lr + (base_lr - schedule.end_lr) * 0.5 * (1.0 + std::cos(std::numbers::pi * progress));
    case ScheduleType::kLinear:
      return schedule.end_lr + (base_lr - schedule.end_lr) * (1.0 - progress);
    case ScheduleType::kPolynomial:
      return schedule.end_lr + (base_lr - schedule.end_lr) * std::pow(1.0 - progress, schedule.power);
    case ScheduleType::kExponential:
      return base_lr *
             std::pow(schedule.gamma, std::floor(static_cast<double>(step) / (schedule.every_epochs * per_epoch)));
    case ScheduleType::kStep: {
      const auto passed = std::count_if(schedule.milestones.begin(), schedule.milestones.end(),
                                        [&](double epoch) { return step >= std::llround(epoch * per_epoch); });
      return base_lr * std::pow(schedule.gamma, static_cast<double>(passed));
    }
  }
  return base_lr;
}

}  // namespace tidepool
