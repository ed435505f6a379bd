# An include that breaks the order of the rooms fails the build.
file(GLOB_RECURSE layered CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/*.[ch]
  ${PROJECT_SOURCE_DIR}/include/*.h)
set(stamp ${PROJECT_BINARY_DIR}/layers.stamp)
add_custom_command(OUTPUT ${stamp}
  COMMAND ${PROJECT_SOURCE_DIR}/script/check-layers ${PROJECT_SOURCE_DIR}
  COMMAND ${CMAKE_COMMAND} -E touch ${stamp}
  DEPENDS ${layered} ${PROJECT_SOURCE_DIR}/script/check-layers
  COMMENT "Checking the order of the rooms" VERBATIM)
add_custom_target(layers ALL DEPENDS ${stamp})
