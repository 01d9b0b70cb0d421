"""How `./build` makes the guest's kernel and ramdisk, and installs runx. Standard library only; shares the cache and
package handling with tools/runxtools."""
