# What `cmake --install` puts where, in two parts, which are Debian packages too (`cpack`):
#   program      tidepool, its manual page, completion for three shells
#   development  headers, static libraries and the files with which find_package(tidepool) finds them
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

install(TARGETS tidepool DESTINATION ${CMAKE_INSTALL_BINDIR} COMPONENT program)
if(TIDEPOOL_PORTABLE)
  tidepool_install_levels(${CMAKE_INSTALL_LIBDIR}/tidepool program)
  set_target_properties(tidepool PROPERTIES INSTALL_RPATH "$ORIGIN/../${CMAKE_INSTALL_LIBDIR}/tidepool")
endif()
if(TIDEPOOL_WITH_CUDA)  # whose toolkit may lie where the loader does not look
  set_target_properties(tidepool PROPERTIES INSTALL_RPATH_USE_LINK_PATH ON)
endif()
# Written by the program itself, from its table of commands.
set(TIDEPOOL_WRITTEN ${CMAKE_BINARY_DIR}/generated/install)
install(CODE "
  file(MAKE_DIRECTORY \"${TIDEPOOL_WRITTEN}\")
  foreach(call man:tidepool.1 completion,bash:tidepool completion,zsh:_tidepool completion,fish:tidepool.fish)
    string(REGEX REPLACE \":.*\" \"\" words \"\${call}\")
    string(REGEX REPLACE \".*:\" \"\" name \"\${call}\")
    string(REPLACE \",\" \";\" words \"\${words}\")
    execute_process(COMMAND \"$<TARGET_FILE:tidepool>\" \${words} OUTPUT_FILE \"${TIDEPOOL_WRITTEN}/\${name}\"
      COMMAND_ERROR_IS_FATAL ANY)
  endforeach()" COMPONENT program)
install(FILES ${TIDEPOOL_WRITTEN}/tidepool.1 DESTINATION ${CMAKE_INSTALL_MANDIR}/man1 COMPONENT program)
install(FILES ${TIDEPOOL_WRITTEN}/tidepool DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions
  COMPONENT program)
# Debian's zsh reads site-functions below /usr/local alone.
install(CODE "
  set(folder site-functions)
  if(CMAKE_INSTALL_PREFIX MATCHES \"/usr$\" AND EXISTS /etc/debian_version)
    set(folder vendor-completions)
  endif()
  file(INSTALL \"${TIDEPOOL_WRITTEN}/_tidepool\"
    DESTINATION \"\${CMAKE_INSTALL_PREFIX}/${CMAKE_INSTALL_DATADIR}/zsh/\${folder}\")" COMPONENT program)
install(FILES ${TIDEPOOL_WRITTEN}/tidepool.fish DESTINATION ${CMAKE_INSTALL_DATADIR}/fish/vendor_completions.d
  COMPONENT program)
install(FILES LICENSE DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/tidepool RENAME copyright COMPONENT program)

set(TIDEPOOL_PARTS program)
if(NOT TIDEPOOL_PORTABLE)  # whose levels are for the program: what stands on the rooms is compiled for one machine
  list(APPEND TIDEPOOL_PARTS development)
  set(TIDEPOOL_ROOMS core data layers models train)
  set(TIDEPOOL_HEADERS ${CMAKE_INSTALL_INCLUDEDIR}/tidepool)  # "core/tensor.h" is included by that name, as in the source
  list(TRANSFORM TIDEPOOL_ROOMS PREPEND tidepool_ OUTPUT_VARIABLE TIDEPOOL_ROOM_TARGETS)
  target_include_directories(tidepool_options INTERFACE $<INSTALL_INTERFACE:${TIDEPOOL_HEADERS}>)
  target_compile_features(tidepool_options INTERFACE $<INSTALL_INTERFACE:cxx_std_20>)
  set_target_properties(tidepool_options PROPERTIES EXPORT_NAME options)
  install(TARGETS tidepool_options ${TIDEPOOL_ROOM_TARGETS} EXPORT tidepoolTargets
    ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT development)
  foreach(room ${TIDEPOOL_ROOMS})
    file(GLOB_RECURSE headers RELATIVE ${CMAKE_SOURCE_DIR} CONFIGURE_DEPENDS ${room}/*.h)
    foreach(header ${headers})
      get_filename_component(folder ${header} DIRECTORY)
      install(FILES ${header} DESTINATION ${TIDEPOOL_HEADERS}/${folder} COMPONENT development)
    endforeach()
  endforeach()

  set(TIDEPOOL_PACKAGE ${CMAKE_INSTALL_LIBDIR}/cmake/tidepool)
  install(EXPORT tidepoolTargets NAMESPACE tidepool:: DESTINATION ${TIDEPOOL_PACKAGE} COMPONENT development)
  configure_package_config_file(cmake/tidepoolConfig.cmake.in ${CMAKE_BINARY_DIR}/generated/tidepoolConfig.cmake
    INSTALL_DESTINATION ${TIDEPOOL_PACKAGE})
  write_basic_package_version_file(${CMAKE_BINARY_DIR}/generated/tidepoolConfigVersion.cmake
    COMPATIBILITY SameMinorVersion)
  install(FILES ${CMAKE_BINARY_DIR}/generated/tidepoolConfig.cmake
    ${CMAKE_BINARY_DIR}/generated/tidepoolConfigVersion.cmake DESTINATION ${TIDEPOOL_PACKAGE} COMPONENT development)
endif()

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME tidepool)
set(CPACK_PACKAGE_VENDOR "The tidepool authors")
set(CPACK_PACKAGE_CONTACT "The tidepool authors <tidepool@localhost>")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "${PROJECT_DESCRIPTION}")
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_COMPONENTS_ALL ${TIDEPOOL_PARTS})
set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION science)
set(CPACK_DEBIAN_PROGRAM_PACKAGE_NAME tidepool)
set(CPACK_DEBIAN_PROGRAM_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS_PRIVATE_DIRS ${CMAKE_BINARY_DIR}/lib)
set(CPACK_DEBIAN_PROGRAM_PACKAGE_RECOMMENDS ca-certificates)  # for downloads
set(processor "")
if(TIDEPOOL_NATIVE)
  set(processor "\nBuilt for processors like that of the machine that built it, and no others.")
endif()
set(CPACK_COMPONENT_PROGRAM_DESCRIPTION
  "Trains networks whose pooling layers are what is studied, among them those\nthat learn the sizes of their maps, and \
prints tables that compare them. The\nprogram, its manual page and completion for bash, zsh and fish.${processor}")
set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_NAME libtidepool-dev)
set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_SECTION libdevel)
string(CONCAT CPACK_DEBIAN_DEVELOPMENT_PACKAGE_DEPENDS "libarchive-dev, libcurl4-openssl-dev | libcurl-dev, libdnnl-dev, "
  "libfmt-dev, libjpeg-dev, libpng-dev, libspdlog-dev, libssl-dev, nlohmann-json3-dev, ocl-icd-opencl-dev")
if(TIDEPOOL_CAIRO_VERSION)
  string(APPEND CPACK_DEBIAN_DEVELOPMENT_PACKAGE_DEPENDS ", libcairo2-dev")
endif()
set(CPACK_COMPONENT_DEVELOPMENT_DESCRIPTION
  "Headers and static libraries for programs that use tidepool's layers and\nnetworks: find_package(tidepool).${processor}")
include(CPack)
