/* Included before Linux's drivers/xen/xenbus/xenbus_probe_frontend.c.
 *
 * Linux does not start /init before all devices are connected. runx's /init waits for each device when it needs it, and does
 * something else until then. Another /init does not know that: for it, the command line has runx.wait_for_devices. Linux looks ten
 * times a second then. Devices connect within some milliseconds: look at each tick. */
#include <linux/init.h>
#include <linux/sched.h>
#include <linux/string.h>

#define schedule_timeout_interruptible(timeout) schedule_timeout_interruptible(1)

#undef late_initcall
#define late_initcall(function)                                                   \
	static int __init function##_if_asked(void)                               \
	{                                                                         \
		return strstr(saved_command_line, "runx.wait_for_devices") ? function() : 0; \
	}                                                                         \
	__define_initcall(function##_if_asked, 7)

#undef pr_fmt /* linux/printk.h has set the default, and the source sets its own */
