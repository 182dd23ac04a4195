/** Instead of the stylesheet: jsdom lays nothing out. */

export default "";
