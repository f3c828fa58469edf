"""Everything outside both visors: guests, the VMM, images and the `pef` command."""
