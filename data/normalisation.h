// Mean and standard deviation of every channel of a data set, as a variant shows it.
#pragma once
#include "data/transform.h"

namespace tidepool {

/// Over all pixels of all images of `dataset` in evaluation form (population deviation). Images that are shown as they
/// are are summed in whole numbers, others in f64 in the order of the images: the same bits for any number of threads.
/// `threads` 0: as many as OpenMP gives. A channel without any spread gets the deviation 1.
Normalisation measure_normalisation(const Dataset& dataset, const VariantOptions& variant, int threads = 0);

}  // namespace tidepool
