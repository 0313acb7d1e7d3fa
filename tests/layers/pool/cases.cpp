#include "tests/layers/pool/cases.h"

namespace tidepool::testing {

std::vector<PoolCase> windows(std::vector<PoolCase> own) {
  std::vector<PoolCase> all = {
      {R"({"kernel": 2})", {2, 3, 8, 34}},
      {R"({"kernel": 2})", {2, 19, 7, 9}},
      {R"({"kernel": 2})", {1, 2, 4, 37}},
      {R"({"kernel": 2, "stride": [1, 2]})", {2, 5, 6, 8}},
      {R"({"kernel": 3, "stride": 2, "padding": 1})", {2, 17, 11, 8}},
      {R"({"kernel": 3, "stride": 2, "padding": 1})", {1, 2, 5, 41}},
      {R"({"kernel": 3, "stride": 2, "padding": 1, "ceil_mode": true})", {1, 3, 10, 8}},
      {R"({"kernel": [3, 2], "stride": [1, 3], "padding": [1, 0]})", {2, 2, 6, 11}},
      {R"({"kernel": 3, "stride": 1, "padding": 1})", {1, 17, 5, 6}},
      {R"({"kernel": 2, "stride": 3})", {2, 3, 9, 10}},
      {R"({"kernel": 2, "ceil_mode": true})", {2, 16, 7, 9}},
      {R"({"kernel": [3, 2], "stride": 2, "padding": 1, "dilation": [2, 3]})", {2, 3, 11, 12}},
      {R"({"kernel": 2, "stride": 4, "dilation": 3})", {1, 18, 12, 13}},
      {R"({"kernel": 17, "stride": 5, "padding": 8})", {1, 2, 19, 23}},
      {R"({"kernel": 3, "stride": 2, "padding": 1, "ceil_mode": true})", {3, 4, 13}},
      {R"({"kernel": 2})", {2, 3, 70}},
      {R"({"kernel": [2, 3, 2], "stride": [2, 2, 3], "padding": [0, 1, 1]})", {1, 3, 5, 6, 7}},
      {R"({"kernel": 2})", {1, 16, 4, 5, 6}},
      {R"({"kernel": 1})", {1, 3, 4, 5}},
      {R"({"kernel": 2})", {2, 3, 8, 6}, Data::ties},
      {R"({"kernel": 3, "stride": 1, "padding": 1})", {2, 3, 8, 9}, Data::ties},
      {R"({"kernel": 3, "stride": 2, "padding": 1})", {1, 3, 8, 9}, Data::equal},
      {R"({"kernel": 2})", {1, 17, 4, 6}, Data::equal},
      {R"({"kernel": 2})", {1, 3, 4, 6}, Data::zero},
      {R"({"kernel": 3, "stride": 2, "padding": 1})", {1, 3, 7, 6}, Data::large},
      {R"({"kernel": 2})", {1, 17, 8, 6}, Data::large},
  };
  all.insert(all.end(), own.begin(), own.end());
  // Channels in whole runs of 16 bytes, as a GPU takes them.
  all.insert(all.end(), {{R"({"kernel": 2})", {2, 24, 7, 6}},
                         {R"({"kernel": 2, "stride": 1})", {1, 16, 4, 5}},
                         {R"({"kernel": 2})", {1, 8, 4, 6}, Data::ties},
                         {R"({"kernel": 2})", {1, 8, 6, 6}, Data::large}});
  return all;
}

namespace {

std::vector<PoolRow> rows() {
  return {
      {.name = "max", .cases = windows({})},
      {.name = "avg",
       .cases = windows({{R"({"kernel": 3, "stride": 2, "padding": 1, "count_include_pad": false})", {2, 3, 9, 8}},
                         {R"({"kernel": 3, "stride": 2, "padding": 1, "ceil_mode": true, "count_include_pad": false})",
                          {1, 17, 10, 8}},
                         {R"({"kernel": 4, "padding": 2, "ceil_mode": true})", {1, 3, 7, 9}}})},
      {.name = "soft",
       .cases = windows({{R"({"kernel": 3, "stride": 2, "padding": 1, "beta": 2.5})", {2, 3, 8, 7}},
                         {R"({"kernel": 2, "beta": 0})", {1, 3, 6, 6}},
                         {R"({"kernel": 2, "beta": 0.4, "grad": "frozen_weights"})", {2, 3, 8, 7}},
                         {R"({"kernel": 3, "stride": 2, "grad": "frozen_weights"})", {2, 17, 8, 7}}})},
      {.name = "dynopool",
       .cases =
           {
               {R"({})", {2, 3, 8, 6}, Data::normal, {{2, 2}}},
               {R"({})", {2, 17, 12, 34}, Data::normal, {{2, 2}}},
               {R"({})", {2, 3, 8, 6}, Data::ties, {{2, 2}}},
               {R"({})", {2, 3, 5, 7}, Data::normal, {{2, 2}}},
               {R"({})", {2, 3, 12, 10}, Data::normal, {{1.6875, 2.3125}}},
               {R"({})", {1, 19, 13, 11}, Data::normal, {{1.4375, 2.625}}},
               {R"({"anchor": "origin"})", {2, 3, 12, 10}, Data::normal, {{1.6875, 2.3125}}},
               {R"({"node_derivative": "right"})", {2, 3, 8, 6}, Data::normal, {{2, 2}}},
               {R"({"anchor": "origin", "node_derivative": "right"})", {2, 3, 8, 6}, Data::normal, {{2, 2}}},
               {R"({})", {2, 3, 10, 10}, Data::normal, {{3.25, 3.125}}},
               {R"({})", {1, 2, 12, 18}, Data::normal, {{6, 6}}},
               {R"({})", {2, 3, 5, 6}, Data::normal, {{0.625, 0.8125}}},
               {R"({})", {2, 3, 5, 6}, Data::normal, {{1, 1.015625}}},
               {R"({"aggregate": "avg"})", {2, 3, 9, 10}, Data::normal, {{1.6875, 2.3125}}},
               {R"({"aggregate": "avg"})", {2, 17, 8, 10}, Data::normal, {{2, 2}}},
               {R"({"aggregate": "soft"})", {2, 3, 9, 10}, Data::normal, {{1.6875, 2.3125}}},
               {R"({"aggregate": "soft"})", {2, 18, 8, 6}, Data::normal, {{2, 2}}},
               {R"({"aggregate": "soft"})", {2, 3, 8, 6}, Data::large, {{2, 2}}},
               {R"({"tied": true})", {2, 17, 9, 10}, Data::normal, {{1.8125}}},
               {R"({"tied": true, "anchor": "origin"})", {2, 3, 8, 10}, Data::normal, {{2}}},
               {R"({"offset": "learned"})", {2, 3, 9, 10}, Data::normal, {{1.6875, 2.3125}, {0.2109375, 0.37109375}}},
               {R"({"offset": "learned"})", {2, 3, 8, 10}, Data::normal, {{2, 2}, {0.25, 0.25}}},
               {R"({"offset": "learned", "anchor": "origin", "aggregate": "avg"})",
                {2, 3, 9, 10},
                Data::normal,
                {{1.6875, 0.703125}, {0.3125, 0.171875}}},
               {R"({"offset": "learned"})", {1, 3, 9, 10}, Data::normal, {{1.6875, 2.3125}, {0.890625, -0.37109375}}},
               {R"({})", {2, 3, 4, 5}, Data::normal, {{9, 40}}},
               {R"({})", {2, 3, 1, 6}, Data::normal, {{1.3125, 1.4375}}},
               {R"({})", {1, 2, 6, 7}, Data::equal, {{1.6875, 2.25}}},
               {R"({})", {1, 17, 6, 7}, Data::zero, {{1.6875, 2.25}}},
               {R"({})", {1, 3, 6, 7}, Data::wide, {{1.6875, 2.25}}},
               {R"({})", {3, 4, 13}, Data::normal, {{1.90625}}},
               {R"({})", {3, 4, 12}, Data::normal, {{2}}},
               {R"({})", {1, 3, 5, 6, 7}, Data::normal, {{1.625, 2.1875, 1.40625}}},
               {R"({})", {1, 17, 4, 6, 4}, Data::normal, {{2, 2, 2}}},
               {R"({"aggregate": "soft", "anchor": "origin"})", {1, 2, 4, 6, 4}, Data::normal, {{2, 2, 2}}},
           },
       .differences = false},
      {.name = "shape_adaptor",
       .cases =
           {
               {R"({})", {2, 3, 16, 8}},
               {R"({})", {2, 17, 9, 11}, Data::normal, {{0.703125}}},
               {R"({})", {2, 3, 5, 7}, Data::normal, {{-2.5}}},
               {R"({})", {2, 3, 6, 7}, Data::ties, {{4}}},
               {R"({"r1": 0.3, "r2": 1.4})", {2, 3, 9, 10}, Data::normal, {{0.40625}}},
               {R"({"r1": 0.25, "r2": 0.5})", {2, 3, 2, 5}, Data::normal, {{-1}}},
               {R"({})", {2, 3, 1, 7}, Data::normal, {{0.203125}}},
               {R"({"grad": "straight_through"})", {2, 17, 9, 11}, Data::normal, {{0.703125}}},
               {R"({})", {1, 3, 6, 7}, Data::equal, {{0.203125}}},
               {R"({})", {1, 3, 6, 7}, Data::zero, {{0.203125}}},
               {R"({})", {1, 3, 6, 7}, Data::large, {{0.203125}}},
           }},
      {.name = "conv",
       .cases =
           {
               {R"({})", {2, 3, 7, 9}},
               {R"({"kernel": 3, "stride": 2, "padding": 1})", {2, 5, 11, 8}},
               {R"({"kernel": 2, "channels": 6})", {2, 4, 8, 7}},
               {R"({"kernel": [3, 2], "stride": [1, 3], "padding": [1, 0], "bias": false})", {2, 2, 6, 11}},
               {R"({"kernel": 3, "stride": 2, "padding": 1})", {3, 4, 13}},
               {R"({"kernel": [2, 3, 2], "stride": [2, 2, 3], "padding": [0, 1, 1]})", {1, 3, 5, 6, 7}},
           },
       .nan = false},
  };
}

}  // namespace

const std::vector<PoolRow>& pool_rows() {
  static const std::vector<PoolRow> all = [] {
    std::vector<PoolRow> list = rows();
    for (PoolRow& row : window_rows()) list.push_back(std::move(row));
    for (PoolRow& row : map_rows()) list.push_back(std::move(row));
    return list;
  }();
  return all;
}

}  // namespace tidepool::testing
