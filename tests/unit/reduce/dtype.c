#include "dhole/dtype.h"

#include "test.h"

TEST(types_have_the_sizes_and_names_of_mlx)
{
    ASSERT_EQ(dhole_dtype_size(DHOLE_BOOL), 1);
    ASSERT_EQ(dhole_dtype_size(DHOLE_BF16), 2);
    ASSERT_EQ(dhole_dtype_size(DHOLE_C64), 8);
    ASSERT_STR(dhole_dtype_name(DHOLE_F16), "float16");
    ASSERT_STR(dhole_dtype_name(DHOLE_C64), "complex64");
}

TEST(an_unknown_type_has_no_size)
{
    ASSERT_EQ(dhole_dtype_size((dhole_dtype)14), 0);
    ASSERT_STR(dhole_dtype_name((dhole_dtype)14), "?");
}
