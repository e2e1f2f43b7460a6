# Included by llama-cpp-python's CMakeLists.txt right after project().

# A normal variable hides the cached one that the file forces to ON (policy CMP0126): llama-common
# takes more than half of the compile time, and no program here loads it.
set(LLAMA_BUILD_COMMON OFF)

# What was built and how, beside the libraries, so that it goes where they go and with them.
configure_file("${OLM_ENGINE_FACTS}" "${CMAKE_BINARY_DIR}/olm-engine.json" @ONLY)
install(FILES "${CMAKE_BINARY_DIR}/olm-engine.json" DESTINATION "${SKBUILD_PLATLIB_DIR}/llama_cpp/lib")
