/* usher-rehearse: the dress rehearsal. Many fans at once against a running usher, by its HTTP API alone. */
#include "base/log.h"
#include "base/options.h"
#include "rehearse/calibrate.h"
#include "rehearse/rehearsal.h"
#include "rehearse/report.h"
#include "rehearse/scout.h"
#include "rehearse/stage.h"
#include "rehearse/watch.h"

static int verdict(const struct stage *stage, bool written)
{
    if (stage_breaches(stage) > 0 || !written)
        return EXIT_FAILED;
    return stage->interrupted ? STAGE_EXIT_INTERRUPTED : EXIT_OK;
}

static int play(struct stage *stage)
{
    rehearsal_play(stage);
    return verdict(stage, report_write(stage, NULL));
}

static int calibrate(struct stage *stage)
{
    struct calibration calibration;
    calibrate_run(stage, &calibration);
    int status = verdict(stage, report_write(stage, &calibration));
    return status == EXIT_OK && !calibration.best ? EXIT_FAILED : status;
}

int main(int argc, char **argv)
{
    struct settings settings;
    struct stage stage;
    settings_read(argc, argv, &settings);
    int status = stage_open(&stage, &settings);
    if (status == EXIT_OK)
        status = scout_look(&stage);
    if (status == EXIT_OK)
        status = settings.calibrate ? calibrate(&stage) : play(&stage);
    stage_close(&stage);
    return status;
}
