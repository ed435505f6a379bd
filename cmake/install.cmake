# What `cmake --install` gives: both libraries, their headers, the program, pkg-config
# files and a CMake package. All of it finds its parts from where it lies, so the
# prefix may be moved, or given at install time.
set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/dhole)
set(pkgconfig_dir ${CMAKE_INSTALL_LIBDIR}/pkgconfig)

install(TARGETS dhole dhole-infer EXPORT dhole)
install(DIRECTORY include/dhole TYPE INCLUDE FILES_MATCHING PATTERN *.h)

file(RELATIVE_PATH lib_from_bin /${CMAKE_INSTALL_BINDIR} /${CMAKE_INSTALL_LIBDIR})
set(origin $<IF:$<PLATFORM_ID:Darwin>,@loader_path,$ORIGIN>)
set_target_properties(dhole-infer PROPERTIES INSTALL_RPATH ${origin})
set_target_properties(dhole-program PROPERTIES INSTALL_RPATH ${origin}/${lib_from_bin})
install(TARGETS dhole-program)

file(RELATIVE_PATH prefix_from_pkgconfig /${pkgconfig_dir} /)
foreach(name dhole dhole-infer)
  configure_file(cmake/${name}.pc.in ${name}.pc @ONLY)
  install(FILES ${PROJECT_BINARY_DIR}/${name}.pc DESTINATION ${pkgconfig_dir})
endforeach()

install(EXPORT dhole NAMESPACE dhole:: FILE dholeTargets.cmake DESTINATION ${package_dir})
configure_package_config_file(cmake/dholeConfig.cmake.in dholeConfig.cmake
  INSTALL_DESTINATION ${package_dir} NO_SET_AND_CHECK_MACRO)
write_basic_package_version_file(dholeConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/dholeConfig.cmake ${PROJECT_BINARY_DIR}/dholeConfigVersion.cmake
  DESTINATION ${package_dir})

# The worker as a service: its unit names the program where it is installed.
if(CMAKE_SYSTEM_NAME STREQUAL Linux)
  install(CODE "
    set(bindir \"\${CMAKE_INSTALL_PREFIX}/${CMAKE_INSTALL_BINDIR}\")
    configure_file(\"${PROJECT_SOURCE_DIR}/cmake/dhole-join.service.in\"
                   \"${PROJECT_BINARY_DIR}/dhole-join.service\" @ONLY)")
  install(FILES ${PROJECT_BINARY_DIR}/dhole-join.service DESTINATION lib/systemd/system)
  install(FILES cmake/dhole.sysusers.conf DESTINATION lib/sysusers.d RENAME dhole.conf)
endif()
