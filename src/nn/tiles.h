/* Quantised weights in the order in which the kernels use them, for whoever copies a weight anyway.
 *
 * A tile is 16 rows of a weight, block after block, and a block of a tile is what the file has for
 * these rows, field by field: 16 scales, 16 minima if the type has them, then four bytes of each
 * row, the next four of each row, and so on. So a register of any width takes its rows with one
 * load where the file wants them gathered and transposed, and memory is read in one stream instead
 * of 16. The size is that of the file. */
#ifndef DHOLE_NN_TILES_H
#define DHOLE_NN_TILES_H

#include <stdbool.h>

#include "model/tensor.h"

enum { dhole__tile_rows = 16 }; /* the most that a kernel takes at once */

/* Whether so many rows of this type can be kept in tiles. */
bool dhole__tiles_fit(enum dhole__ttype type, size_t rows);

/* Copies `cols` columns of 16 rows, which are row_bytes apart, into a tile. */
void dhole__tile_copy(enum dhole__ttype type, const uint8_t *from, size_t row_bytes, size_t cols,
                      uint8_t *to);

#endif
