#include "core/error.h"

#include <algorithm>
#include <vector>

namespace tidepool {
namespace {

// Of insertions, deletions, substitutions and exchanges of neighbours (optimal string alignment).
size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::vector<size_t>> d(a.size() + 1, std::vector<size_t>(b.size() + 1));
  for (size_t i = 0; i <= a.size(); ++i)
    for (size_t j = 0; j <= b.size(); ++j) {
      size_t& least = d[i][j];
      if (i == 0 || j == 0) {
        least = i + j;
        continue;
      }
      least = std::min({d[i - 1][j] + 1, d[i][j - 1] + 1, d[i - 1][j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1)});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) least = std::min(least, d[i - 2][j - 2] + 1);
    }
  return d[a.size()][b.size()];
}

// What other frameworks and papers call our names, without case and punctuation. A word may stand for several names:
// the first that is a candidate counts.
struct Alias {
  std::string_view word, name;
};
constexpr Alias kAliases[] = {
    // operators
    {"softpool", "soft"},
    {"softpooling", "soft"},
    {"softmaxpool", "soft"},
    {"maxpool", "max"},
    {"maxpooling", "max"},
    {"avgpool", "avg"},
    {"avgpooling", "avg"},
    {"averagepool", "avg"},
    {"averagepooling", "avg"},
    {"average", "avg"},
    {"mean", "avg"},
    {"meanpool", "avg"},
    {"adaptiveavgpool", "adaptive_avg"},
    {"adaptiveaveragepool", "adaptive_avg"},
    {"adaptivemaxpool", "adaptive_max"},
    {"adapool", "ada"},
    {"globalavgpool", "global_avg"},
    {"globalaveragepooling", "global_avg"},
    {"gap", "global_avg"},
    {"globalmaxpool", "global_max"},
    {"globalmaxpooling", "global_max"},
    {"gmp", "global_max"},
    {"lppool", "lp"},
    {"l2pool", "lp"},
    {"lpnorm", "lp"},
    {"gempool", "gem"},
    {"generalizedmean", "gem"},
    {"logsumexp", "lse"},
    {"lsepool", "lse"},
    {"logavgexp", "lse"},
    {"fractionalmaxpool", "fractional_max"},
    {"stochasticpool", "stochastic"},
    {"stochasticpooling", "stochastic"},
    {"s3pool", "s3"},
    {"mixedpool", "mixed"},
    {"mixpool", "mixed"},
    {"gatedpool", "gated"},
    {"blurpool", "blur"},
    {"antialias", "blur"},
    {"maxblurpool", "max_blur"},
    {"spectralpool", "spectral"},
    {"spectralpooling", "spectral"},
    {"dynamicpool", "dynopool"},
    {"dynopooling", "dynopool"},
    {"shapeadapter", "shape_adaptor"},
    {"localimportancepooling", "lip"},
    {"lippool", "lip"},
    {"detailpreserving", "dpp"},
    {"detailpreservingpooling", "dpp"},
    {"spatialpyramidpooling", "spp"},
    {"stripconv", "strip"},
    {"strippool", "strip"},
    {"strippooling", "strip"},
    {"stridedconv", "conv"},
    {"convolution", "conv"},
    {"pixelunshuffle", "space_to_depth"},
    {"spacetodepth", "space_to_depth"},
    {"median", "quantile"},
    {"medianpool", "quantile"},
    {"rank", "ordinal"},
    {"ordinalpool", "ordinal"},
    {"empool", "em"},
    // keys of operators
    {"kernelsize", "kernel"},
    {"ksize", "kernel"},
    {"poolsize", "kernel"},
    {"windowsize", "kernel"},
    {"size", "kernel"},
    {"window", "kernel"},
    {"strides", "stride"},
    {"pad", "padding"},
    {"pads", "padding"},
    {"ceil", "ceil_mode"},
    {"outputsize", "output_size"},
    {"normtype", "p"},
    {"temperature", "beta"},
    {"learnable", "learned"},
    {"trainable", "learned"},
    {"outchannels", "channels"},
    {"scalefactor", "ratio"},
    {"outputratio", "ratio"},
    {"includepad", "count_include_pad"},
    // devices
    {"gpu", "cuda"},
    {"nvidia", "cuda"},
    {"host", "cpu"},
    // number types
    {"fp32", "f32"},
    {"float", "f32"},
    {"float32", "f32"},
    {"single", "f32"},
    {"fp64", "f64"},
    {"float64", "f64"},
    {"double", "f64"},
    {"bfloat16", "bf16"},
    {"fp16", "bf16"},
    {"f16", "bf16"},
    {"float16", "bf16"},
    {"half", "bf16"},
    {"amp", "bf16"},
    // keys of a config
    {"type", "name"},
    {"dataset", "name"},
    {"arch", "name"},
    {"learningrate", "lr"},
    {"momentumsgd", "sgd"},
    {"adam", "adamw"},
    {"batchsize", "batch"},
    {"numepochs", "epochs"},
    {"maxepochs", "epochs"},
    {"epoch", "epochs"},
    {"numsteps", "max_steps"},
    {"steps", "max_steps"},
    {"maxiters", "max_steps"},
    {"iterations", "max_steps"},
    {"numworkers", "workers"},
    {"threads", "workers"},
    {"prefetchfactor", "prefetch"},
    {"numclasses", "classes"},
    {"wd", "weight_decay"},
    {"decay", "weight_decay"},
    {"l2", "weight_decay"},
    {"labelsmooth", "label_smoothing"},
    {"smoothing", "label_smoothing"},
    {"gradientclip", "grad_clip"},
    {"clipgradnorm", "grad_clip"},
    {"clip", "grad_clip"},
    {"maxgradnorm", "grad_clip"},
    {"emadecay", "ema"},
    {"scheduler", "schedule"},
    {"lrscheduler", "schedule"},
    {"lrschedule", "schedule"},
    {"lrmin", "end_lr"},
    {"minlr", "end_lr"},
    {"etamin", "end_lr"},
    {"warmup", "warmup_epochs"},
    {"optimizer", "optim"},
    {"optimiser", "optim"},
    {"opt", "optim"},
    {"dataset", "data"},
    {"datadir", "root"},
    {"datapath", "root"},
    {"precision", "dtype"},
    {"loginterval", "log_every"},
    {"randomseed", "seed"},
    {"lambda", "gmacs_lambda"},
    {"pooling", "pool"},
    {"network", "model"},
    {"arch", "model"},
    {"widthmult", "width"},
    {"widthmultiplier", "width"},
    {"augmentation", "augment"},
    // schedules
    {"cosineannealing", "cosine"},
    {"cos", "cosine"},
    {"steplr", "step"},
    {"multistep", "step"},
    {"const", "constant"},
    {"none", "constant"},
    {"poly", "linear"},
    // networks and data sets
    {"vgg", "vgg16"},
    {"vgg16bn", "vgg16"},
    {"cifar", "cifar100"},
    {"fake", "procedural"},
    {"synthetic", "procedural"},
    {"toy", "procedural"},
    // commands and options
    {"evaluate", "eval"},
    {"test", "eval"},
    {"validate", "eval"},
    {"benchmark", "bench"},
    {"summary", "info"},
    {"operators", "ops"},
    {"fit", "train"},
    {"download", "fetch"},
    {"out", "output"},
    {"outdir", "out"},
    {"outputdir", "out"},
    {"output", "out"},
    {"restart", "resume"},
    {"continue", "resume"},
    {"dataroot", "data"},
};

// "SoftPool2d" and "soft-pool" are softpool.
std::string plain_word(std::string_view name) {
  std::string word;
  for (const char c : name) {
    if (c >= 'A' && c <= 'Z')
      word += static_cast<char>(c - 'A' + 'a');
    else if (c != '_' && c != '-' && c != '.' && c != ' ')
      word += c;
  }
  for (const std::string_view rank : {"1d", "2d", "3d"})
    if (word.size() > 2 && word.ends_with(rank)) return word.substr(0, word.size() - 2);
  return word;
}

}  // namespace

std::string nearest_name(std::string_view name, std::span<const std::string> candidates) {
  const std::string word = plain_word(name);
  if (word.empty()) return "";
  for (const std::string& candidate : candidates)
    if (plain_word(candidate) == word) return candidate;
  for (const Alias& alias : kAliases)
    if (alias.word == word)
      for (const std::string& candidate : candidates)
        if (candidate == alias.name) return candidate;
  // Half of a short word changed makes another word, and a third of a long one is too much for a slip.
  std::string best;
  size_t best_distance = std::min(std::max<size_t>(2, name.size() / 3), std::max<size_t>(1, name.size() / 2)) + 1;
  for (const std::string& candidate : candidates) {
    const size_t distance = edit_distance(name, candidate);
    if (distance < best_distance) {
      best_distance = distance;
      best = candidate;
    }
  }
  return best;
}

std::string did_you_mean(std::string_view name, std::span<const std::string> candidates) {
  const std::string best = nearest_name(name, candidates);
  return best.empty() ? "" : fmt::format(" (did you mean '{}'?)", best);
}

}  // namespace tidepool
