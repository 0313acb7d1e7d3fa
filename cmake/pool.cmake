# The pooling operators' sources: layers/pool/operators.inc is the one list of them.
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/layers/pool/operators.inc)
file(STRINGS ${CMAKE_SOURCE_DIR}/layers/pool/operators.inc TIDEPOOL_POOL_LINES REGEX "^TP_POOL_OPERATOR")
set(TIDEPOOL_POOL_SOURCES)
foreach(line ${TIDEPOOL_POOL_LINES})
  string(REGEX REPLACE ".*\"(.*)\".*" "pool/\\1" source "${line}")
  list(APPEND TIDEPOOL_POOL_SOURCES ${source})
endforeach()
list(REMOVE_DUPLICATES TIDEPOOL_POOL_SOURCES)

# A value is what the formula's own roundings give, not what a fused multiply-add gives: values that tie in the formula
# tie the same way in every build and on every device, and with them the gradient's winner.
foreach(source ${TIDEPOOL_POOL_SOURCES} pool/sampling.cpp)
  set_property(SOURCE layers/${source} APPEND PROPERTY COMPILE_OPTIONS -ffp-contract=off)
endforeach()
