/* Included before Linux's drivers/xen/xenbus/xenbus_probe_frontend.c.
 *
 * Before the kernel starts /init, it waits until all devices are connected, and looks ten times a second. A boot takes less than
 * a second, and devices connect within some milliseconds: look at each tick. */
#include <linux/sched.h>

#define schedule_timeout_interruptible(timeout) schedule_timeout_interruptible(1)

#undef pr_fmt /* linux/printk.h has set the default, and the source sets its own */
