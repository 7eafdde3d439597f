# SPDX-License-Identifier: Apache-2.0
# `cmake --install` and `cpack -G DEB`.
set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_CONTACT "mtm maintainers <mtm@localhost>")
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
include(CPack)
